"""The cellar: published models, addressed by what they contain. Knows neither the service nor the trainer."""
