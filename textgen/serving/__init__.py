"""A server that writes for many clients at once, with the interface of OpenAI's completions."""
