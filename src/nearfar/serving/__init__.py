"""A model or an index over HTTP: OpenAI's, Cohere's and TEI's interfaces, search, and what an operator watches."""
