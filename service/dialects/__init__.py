"""How other people's embedding services and model servers are spoken to: their requests become ours, our answers theirs."""
