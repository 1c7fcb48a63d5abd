"""Login and rights: who asks over HTTP, and what each route needs of them."""
