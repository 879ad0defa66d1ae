-- Which cloud models take many questions as one job, and at what price: for the teacher, who can wait.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_providers
add column if not exists batch_price_factor numeric(4, 3)
constraint slm_providers_batch_price_factor check (batch_price_factor > 0 and batch_price_factor <= 1);
comment on column public.slm_providers.batch_price_factor is
'Share of its prices that the model costs through the Batch API (0.5: half); null where there is none. The trainer asks its teacher that way; people''s requests never wait for it.';
update public.slm_providers set batch_price_factor = 0.5 where name = 'openai-gpt-4o-mini' and batch_price_factor is null;
