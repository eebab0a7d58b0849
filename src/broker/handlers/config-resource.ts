/** Kafka's numbers for what has configs; the ones that are served. */
export const CONFIG_RESOURCE = { topic: 2, broker: 4 } as const;
