"""The routes of the API, a module for each kind of resource; each handler turns a `Call` into a reply."""
