"""Messages and a schema in; valid output with a measured confidence out. Knows nothing of Supabase, training, orgs."""
