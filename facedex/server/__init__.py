"""A web page and a REST API over one gallery."""
