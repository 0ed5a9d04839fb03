"""A server with OpenAI's interface for a run's model: requests, the thread that generates, answers, and a chat page."""
