-- What scripts/memcheck runs under Valgrind: each way in and out once, good input and bad.
\set ON_ERROR_STOP 0
insert into immutable.events(tenant_id,actor_id,action,targets,metadata) select 't'||n%3,'u'||n%7,'x.y','[{"type":"team","id":"1"},{"type":"a","name":"é","metadata":{"z":[1,2.50,{"b":null}]}}]',jsonb_build_object('k',n,'e','ü€😀','esc',E'\n"\\') from generate_series(1,300) n;
insert into immutable.events(actor_id,action,metadata) values ('a','b',jsonb_build_object('big',repeat('x',60000)));
select immutable.track(actor_id=>'u1', action=>'a.b', tenant_id=>'t', idempotency_key=>'k');
select immutable.track(actor_id=>'u1', action=>'a.b', tenant_id=>'t', idempotency_key=>'k');
select immutable.track_batch('[{"actor_id":"u","action":"a"},{"actor_id":"u"},5,{"actor_id":"u","action":"a","targets":[{"type":1}]}]');
insert into immutable.events(actor_id,action,seq) values ('a','b',1);
select jsonb_array_length(immutable.get_events(actor_id=>'u1') -> 'data'), jsonb_array_length(immutable.get_events(action=>'x.*', search=>'ü') -> 'data');
select count(*) from immutable.find_events(target_type=>'team', "limit"=>100);
select valid, events_checked, breaks_found from immutable.verify_chain();
select count(*) from immutable.export_events();
select count(*) from immutable.erase_subject('t1','u1','test');
select valid, events_checked, events_erased from immutable.verify_chain();
select immutable.create_viewer_token('t1') ->> 'token' as tok \gset
create role v in role immutable_viewer; set role v; select set_config('immutable.viewer_token', :'tok', false) is not null;
select count(*) from immutable.events; select jsonb_array_length(immutable.get_events() -> 'data');
select set_config('immutable.viewer_token', 'x'||:'tok', false) is not null;
select count(*) from immutable.events;
reset role;
select problems from immutable.status();
alter table immutable.events disable trigger all;
