"""The web page and the HTTP API: requests to jobs, jobs to files, and nothing that a client names is ever opened."""
