/** One run in a process of its own; the order comes as JSON in the only argument, the result goes to result.json. */
import { runScenario } from '../run-scenario.ts';
import { SCENARIOS } from '../scenarios.ts';
import type { ChildOrder } from './run-all.ts';

const order = JSON.parse(process.argv[2]!) as ChildOrder;
const scenario = SCENARIOS.find(({ name }) => name === order.scenario);
if (scenario === undefined) throw new Error(`There is no scenario "${order.scenario}"`);
await runScenario({ ...order, scenario, say: (line) => process.stderr.write(`${line}\n`) });
// Client libraries may keep sockets and timers of brokers that are gone.
process.exit(0);
