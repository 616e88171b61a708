"""The HTTP service: Hugging Face's task APIs over queues, batches and supervised model processes, and a page."""
