"""The endpoints, one module a subject; `api.routing` says where each is served."""
