-- All that the edge must know before it answers, in one round trip.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_context(p_user_id uuid, p_feature text, p_title text default null, p_skills text[] default '{}', p_similar integer default 0)
returns jsonb
language plpgsql stable -- plpgsql keeps its plan for the session; a nested sql function would be planned anew at each call
security invoker
set search_path = ''
as $$
begin
  return (select jsonb_build_object(
    'org_id', caller.org_id,
    'allow_cloud', coalesce(settings.allow_cloud, false),
    'stage', rollout.stage,
    'in_share', (('x' || substr(md5(coalesce(caller.org_id, p_user_id)::text || '/' || p_feature), 1, 8))::bit(32)::bigint % 100) < rollout.share,
    'min_confidence', rollout.min_confidence,
    'slm_breaker', case when slm.open_until is null then 'closed' when slm.open_until > clock_timestamp() then 'open' else 'due' end,
    'cloud', case when provider.name is not null then jsonb_build_object(
      'name', provider.name, 'api', provider.api, 'endpoint', provider.endpoint, 'api_version', provider.api_version,
      'model', provider.model, 'priced_as', coalesce(provider.priced_as, provider.model), 'key_name', provider.key_name,
      'breaker', case when cloud.open_until is null then 'closed' when cloud.open_until > clock_timestamp() then 'open' else 'due' end,
      'usd_left', least(
        settings.daily_cloud_usd - public.slm_cloud_usd_today(caller.org_id),
        (select operator.daily_cloud_usd from public.slm_operator_settings as operator) - public.slm_cloud_usd_today(null)
      )
    ) end,
    'similar', case when p_similar > 0 then (
      select coalesce(jsonb_agg(jsonb_build_object('title', found.title, 'steps', found.steps)), '[]')
      from public.slm_similar_tasks(p_user_id, p_title, p_skills, p_similar) as found
    ) else '[]'::jsonb end
  )
  from public.slm_rollouts as rollout
  left join public.profiles as caller on caller.id = p_user_id
  left join lateral (
    select candidate.allow_cloud, candidate.daily_cloud_usd from public.slm_org_settings as candidate
    where candidate.org_id = caller.org_id or candidate.org_id is null
    order by candidate.org_id nulls last limit 1
  ) as settings on true
  left join lateral (
    select candidate.* from public.slm_providers as candidate
    where settings.allow_cloud and candidate.is_enabled and candidate.starts_on <= (now() at time zone 'utc')::date
      and (candidate.ends_on is null or candidate.ends_on > (now() at time zone 'utc')::date)
      and exists (select from public.slm_prices as price where price.model = coalesce(candidate.priced_as, candidate.model) and price.valid_from <= (now() at time zone 'utc')::date)
    order by candidate.rank, candidate.name limit 1
  ) as provider on true
  left join public.slm_breakers as slm on slm.provider = 'slm'
  left join public.slm_breakers as cloud on cloud.provider = 'cloud:' || provider.name
  where rollout.feature = p_feature);
end;
$$;

comment on function public.slm_context is
'The caller''s organisation and policy, the rollout, the breakers, the cloud model of the day with what may still be spent, and similar tasks: one round trip before an answer. A breaker is closed (ask), open (do not) or due (whoever wins slm_claim_probe asks).';

create or replace function public.slm_names(p_org_id uuid)
returns jsonb
language sql stable
security invoker
set search_path = ''
as $$
  -- One value, not rows: the server cuts rows at its limit without a word.
  select coalesce(jsonb_agg(distinct btrim(profile.full_name)), '[]') from public.profiles as profile
  where profile.org_id = p_org_id and length(btrim(profile.full_name)) >= 2;
$$;

comment on function public.slm_names is 'Full names of an organisation''s people: taken out of a text before it may leave.';

revoke execute on function public.slm_context, public.slm_names from public, anon, authenticated;
grant execute on function public.slm_context, public.slm_names to service_role;
