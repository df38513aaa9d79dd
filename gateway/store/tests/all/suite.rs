//! What every store keeps to, wherever it keeps it.

use patchbay_store::{
    AuditDraft, BotKeyRow, BotRow, CallFilter, Entry, Group, Horizon, KeyRow, LegRow, Page, Quality, Secret,
    Store, StoreError, Subject, UnixMs, UsageQuery, UsageRow,
};

use crate::places::Place;
use crate::rows::{call, leg, private, said, used};

#[tokio::test]
async fn the_suite_holds_in_memory() {
    all(&mut Place::Memory).await;
}

#[tokio::test]
async fn the_suite_holds_in_sqlite() {
    all(&mut Place::sqlite()).await;
}

#[tokio::test]
async fn the_suite_holds_in_postgresql() {
    all(&mut Place::postgres()).await;
}

async fn all(place: &mut Place) {
    what_was_written_is_read_back(&*place.store().await).await;
    writing_twice_is_as_writing_once(&*place.store().await).await;
    a_lower_revision_never_overwrites_a_higher_one(&*place.store().await).await;
    a_leg_that_ended_stays_ended(&*place.store().await).await;
    usage_counts_once_and_the_surer_row_stays(&*place.store().await).await;
    usage_is_summed_by_what_is_asked_for(&*place.store().await).await;
    pages_hold_every_call_once(&*place.store().await).await;
    a_batch_that_is_too_large_is_refused_whole(&*place.store().await).await;
    keys_are_kept_found_and_revoked(&*place.store().await).await;
    tenants_and_routes_change_only_from_what_was_seen(&*place.store().await).await;
    secrets_are_kept_by_tenant_and_name(&*place.store().await).await;
    bots_are_kept_found_and_revoked(&*place.store().await).await;
    a_bots_key_is_one_bots_until_it_is_taken_back(&*place.store().await).await;
    the_audit_is_a_chain(&*place.store().await).await;
    a_person_is_forgotten_and_the_sums_stay(&*place.store().await).await;
    what_is_too_old_goes(&*place.store().await).await;
    a_call_that_runs_on_does_not_write_a_forgotten_person_back(&*place.store().await).await;
    rotating_a_tenants_key_changes_no_row(&*place.store().await).await;
    text_from_outside_cannot_make_a_batch_impossible(&*place.store().await).await;
    assert!(place.store().await.health().await.is_ok());
}

/// One of each.
fn entries(tenant: &str, id: &str) -> Vec<Entry> {
    vec![
        Entry::Call(call(tenant, id)),
        Entry::Leg(leg(tenant, id, 0)),
        Entry::Leg(LegRow { kind: "realtime".into(), ..leg(tenant, id, 1) }),
        Entry::Transcript(said(tenant, id, 0, "What is the time?")),
        Entry::Transcript(said(tenant, id, 1, "It is nine.")),
        Entry::Usage(used(tenant, id, &format!("{tenant}/{id}/resp_1"))),
        Entry::Usage(UsageRow {
            at: UnixMs(1_700_000_020_000),
            ..used(tenant, id, &format!("{tenant}/{id}/resp_2"))
        }),
    ]
}

/// All entries of a call as they are read back.
async fn read_back(store: &dyn Store, tenant: &str, id: &str) -> Vec<Entry> {
    let page = store.call(tenant, id).await.unwrap().expect("the call was written");
    let mut all = vec![Entry::Call(page.call)];
    all.extend(page.legs.into_iter().map(Entry::Leg));
    all.extend(page.transcript.into_iter().map(Entry::Transcript));
    all.extend(page.usage.into_iter().map(Entry::Usage));
    all
}

async fn what_was_written_is_read_back(store: &dyn Store) {
    store.write(&entries("t", "c")).await.unwrap();
    assert_eq!(read_back(store, "t", "c").await, entries("t", "c"));
    let mut bare = entries("t", "d");
    if let Entry::Call(call) = &mut bare[0] {
        *call = patchbay_store::CallRow {
            id: "d".into(),
            tenant: "t".into(),
            ..patchbay_store::CallRow::default()
        };
    }
    bare.truncate(1);
    store.write(&bare).await.unwrap();
    assert_eq!(read_back(store, "t", "d").await, bare);
    assert_eq!(store.call("t", "none").await.unwrap(), None);
    assert_eq!(store.call("u", "c").await.unwrap(), None, "another tenant's call was read");
}

async fn writing_twice_is_as_writing_once(store: &dyn Store) {
    for _ in 0..3 {
        store.write(&entries("t", "c")).await.unwrap();
    }
    assert_eq!(read_back(store, "t", "c").await, entries("t", "c"));
    assert_eq!(store.spent("t", UnixMs(0)).await.unwrap(), 2_000);
}

async fn a_lower_revision_never_overwrites_a_higher_one(store: &dyn Store) {
    let with = |revision, cost_micro_usd| {
        [Entry::Call(patchbay_store::CallRow { revision, cost_micro_usd, ..call("t", "c") })]
    };
    for (revision, cost) in [(2, 20), (5, 50), (4, 40)] {
        store.write(&with(revision, cost)).await.unwrap();
    }
    assert_eq!(store.call("t", "c").await.unwrap().unwrap().call.cost_micro_usd, 50);
}

async fn a_leg_that_ended_stays_ended(store: &dyn Store) {
    store.write(&entries("t", "c")).await.unwrap();
    let begun = LegRow { ended_at: None, close_code: None, ..leg("t", "c", 0) };
    store.write(&[Entry::Leg(begun)]).await.unwrap();
    assert_eq!(store.call("t", "c").await.unwrap().unwrap().legs[0], leg("t", "c", 0));
}

async fn usage_counts_once_and_the_surer_row_stays(store: &dyn Store) {
    let with = |quality, cost_micro_usd| {
        [Entry::Usage(UsageRow { quality, cost_micro_usd, ..used("t", "c", "resp_1") })]
    };
    let spent = async || store.spent("t", UnixMs(0)).await.unwrap();
    store.write(&with(Quality::Estimated, 10)).await.unwrap();
    store.write(&with(Quality::Estimated, 11)).await.unwrap();
    assert_eq!(spent().await, 10, "an estimate replaced an estimate");
    store.write(&with(Quality::Exact, 20)).await.unwrap();
    assert_eq!(spent().await, 20, "an exact row did not replace an estimate");
    store.write(&with(Quality::Estimated, 10)).await.unwrap();
    store.write(&with(Quality::Reconciled, 30)).await.unwrap();
    assert_eq!(spent().await, 20, "an exact row was replaced");
    let theirs = UsageRow { quality: Quality::Exact, ..used("u", "c", "resp_1") };
    store.write(&[Entry::Usage(theirs)]).await.unwrap();
    assert_eq!((spent().await, store.spent("u", UnixMs(0)).await.unwrap()), (20, 0));
}

async fn usage_is_summed_by_what_is_asked_for(store: &dyn Store) {
    let day = UnixMs::DAY;
    let rows = [
        ("t", Some("ann"), "front", "m1", 10 * day, 1),
        ("t", Some("ann"), "back", "m1", 11 * day - 1, 2),
        ("t", Some("bob"), "front", "m2", 11 * day, 4),
        ("t", None, "front", "m1", 11 * day, 8),
        ("u", Some("ann"), "front", "m1", 10 * day, 16),
        ("u", None, "front", "m1", 10 * day, 32),
    ];
    let mut entries = Vec::new();
    for (i, (tenant, user, route, model, at, cost)) in rows.into_iter().enumerate() {
        entries.push(Entry::Usage(UsageRow {
            user: user.map(private),
            route: route.into(),
            model: model.into(),
            at: UnixMs(at),
            cost_micro_usd: cost,
            quality: if i == 0 { Quality::Estimated } else { Quality::Exact },
            ..used(tenant, "c", &i.to_string())
        }));
    }
    store.write(&entries).await.unwrap();

    let of_t = |group_by: &[Group]| UsageQuery {
        tenant: Some("t".into()),
        group_by: group_by.to_vec(),
        ..UsageQuery::default()
    };
    let costs = async |query: UsageQuery| {
        let sums = store.usage(&query).await.unwrap();
        sums.into_iter().map(|sum| (name(&sum), sum.cost_micro_usd)).collect::<Vec<_>>()
    };
    let owned = |list: &[(&str, i64)]| list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(costs(UsageQuery::default()).await, owned(&[("", 63)]));
    assert_eq!(costs(of_t(&[])).await, owned(&[("", 15)]));
    assert_eq!(costs(of_t(&[Group::User])).await, owned(&[("", 8), ("ann", 3), ("bob", 4)]));
    assert_eq!(costs(of_t(&[Group::Route])).await, owned(&[("back", 2), ("front", 13)]));
    assert_eq!(costs(of_t(&[Group::Model])).await, owned(&[("m1", 11), ("m2", 4)]));
    assert_eq!(costs(of_t(&[Group::Day])).await, owned(&[("10", 3), ("11", 12)]));
    assert_eq!(
        costs(of_t(&[Group::Day, Group::Route])).await,
        owned(&[("back 10", 2), ("front 10", 1), ("front 11", 12)])
    );
    let everybodys = UsageQuery { group_by: vec![Group::Tenant, Group::User], ..UsageQuery::default() };
    let by_user = [("t", 8), ("t ann", 3), ("t bob", 4), ("u", 32), ("u ann", 16)];
    assert_eq!(costs(everybodys).await, owned(&by_user));
    let users = UsageQuery { group_by: vec![Group::User], ..UsageQuery::default() };
    assert_eq!(costs(users).await.iter().map(|(_, cost)| cost).sum::<i64>(), 63);
    let anns = UsageQuery { user: Some(private("ann")), ..of_t(&[]) };
    assert_eq!(costs(anns.clone()).await, owned(&[("", 3)]));
    let nobodys = UsageQuery { user: Some(private("zoe")), ..of_t(&[]) };
    assert_eq!(costs(nobodys).await, owned(&[("", 0)]));
    let tenantless = UsageQuery { tenant: None, ..anns };
    assert!(matches!(store.usage(&tenantless).await, Err(StoreError::Invalid { .. })));
    let span = UsageQuery { from: Some(UnixMs(11 * day - 1)), to: Some(UnixMs(11 * day)), ..of_t(&[]) };
    assert_eq!(costs(span).await, owned(&[("", 2)]));
    let sum = store.usage(&of_t(&[])).await.unwrap().remove(0);
    assert_eq!(
        (sum.rows, sum.estimated_rows, sum.tokens.audio_in, sum.tokens.text_in_cached),
        (4, 1, 800, 256)
    );
    assert_eq!(store.spent("t", UnixMs(11 * day)).await.unwrap(), 12);
}

/// What a sum is of, in one word each.
fn name(sum: &patchbay_store::UsageSum) -> String {
    let user = sum.user.as_ref().map(|user| user.reveal().clone());
    let parts =
        [sum.tenant.clone(), user, sum.route.clone(), sum.model.clone(), sum.day.map(|d| d.to_string())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn pages_hold_every_call_once(store: &dyn Store) {
    let at = |i: i64| patchbay_store::CallRow {
        started_at: UnixMs(1_000 + i / 3),
        user: (i % 2 == 0).then(|| private("even")),
        ..call("t", &format!("call_{i:02}"))
    };
    let calls: Vec<_> = (0..23).map(|i| Entry::Call(at(i))).collect();
    store.write(&calls).await.unwrap();
    store.write(&entries("u", "theirs")).await.unwrap();
    let (mut page, mut seen) = (Page { after: None, limit: 5 }, Vec::new());
    let filter = CallFilter { tenant: Some("t".into()), user: None };
    loop {
        let (calls, next) = store.calls(&filter, &page).await.unwrap();
        assert!(calls.len() == 5 || next.is_none());
        seen.extend(calls);
        let Some(next) = next else { break };
        page.after = Some(next);
    }
    let ids: Vec<_> = seen.iter().map(|call| call.id.clone()).collect();
    let latest_first: Vec<_> = (0..23).rev().map(|i| format!("call_{i:02}")).collect();
    assert_eq!(ids, latest_first);
    let even = CallFilter { tenant: Some("t".into()), user: Some(private("even")) };
    let all = Page { after: None, limit: 100 };
    assert_eq!(store.calls(&even, &all).await.unwrap().0.len(), 12);
    assert_eq!(store.calls(&CallFilter::default(), &all).await.unwrap().0.len(), 24);
    let wrong = Page { after: Some("yesterday".into()), limit: 5 };
    assert!(matches!(store.calls(&filter, &wrong).await, Err(StoreError::Invalid { .. })));
}

async fn a_batch_that_is_too_large_is_refused_whole(store: &dyn Store) {
    let batch: Vec<_> = (0..501).map(|i| Entry::Usage(used("t", "c", &i.to_string()))).collect();
    assert!(matches!(store.write(&batch).await, Err(StoreError::Invalid { .. })));
    assert_eq!(store.spent("t", UnixMs(0)).await.unwrap(), 0);
    store.write(&batch[1..]).await.unwrap();
    assert_eq!(store.spent("t", UnixMs(0)).await.unwrap(), 500_000);
}

async fn keys_are_kept_found_and_revoked(store: &dyn Store) {
    let key = KeyRow {
        id: "k1".into(),
        tenant: "t".into(),
        sha256: [9; 32],
        scopes: vec!["calls".into(), "usage".into()],
        name: "ci".into(),
        created_at: UnixMs(5),
        expires_at: Some(UnixMs(50)),
        revoked_at: None,
    };
    store.put_key(&key).await.unwrap();
    let taken = KeyRow { tenant: "u".into(), ..key.clone() };
    assert!(matches!(store.put_key(&taken).await, Err(StoreError::Conflict { .. })));
    store.put_key(&KeyRow { id: "k0".into(), created_at: UnixMs(4), ..key.clone() }).await.unwrap();
    assert_eq!(store.key("k1").await.unwrap(), Some(key));
    let ids = store.keys("t").await.unwrap().into_iter().map(|key| key.id);
    assert_eq!(ids.collect::<Vec<_>>(), ["k0", "k1"]);
    assert!(store.keys("u").await.unwrap().is_empty());
    assert!(!store.revoke_key("u", "k1", UnixMs(9)).await.unwrap(), "another tenant's key was revoked");
    assert!(store.revoke_key("t", "k1", UnixMs(9)).await.unwrap());
    assert!(!store.revoke_key("t", "k1", UnixMs(10)).await.unwrap());
    assert_eq!(store.key("k1").await.unwrap().unwrap().revoked_at, Some(UnixMs(9)));
}

async fn tenants_and_routes_change_only_from_what_was_seen(store: &dyn Store) {
    assert_eq!(store.put_tenant("t", "{}", None).await.unwrap(), 1);
    let conflicts = |result: Result<u64, StoreError>| matches!(result, Err(StoreError::Conflict { .. }));
    assert!(conflicts(store.put_tenant("t", "{}", None).await), "a tenant was put twice as new");
    assert_eq!(store.put_tenant("t", "{\"a\":1}", Some(1)).await.unwrap(), 2);
    assert!(conflicts(store.put_tenant("t", "{}", Some(1)).await), "an old revision was replaced");
    assert!(conflicts(store.put_tenant("none", "{}", Some(1)).await));
    assert_eq!(store.put_route("t", "front", "{}", None).await.unwrap(), 1);
    assert!(conflicts(store.put_route("t", "front", "{}", None).await));
    assert_eq!(store.put_route("t", "front", "{\"b\":1}", Some(1)).await.unwrap(), 2);
    assert_eq!(store.put_route("u", "front", "{}", None).await.unwrap(), 1);
    assert_eq!(store.routes("t").await.unwrap()[0].document, "{\"b\":1}");
    assert!(!store.delete_route("v", "front").await.unwrap());
    assert!(store.delete_route("u", "front").await.unwrap());
    store.put_key(&KeyRow { id: "k".into(), tenant: "t".into(), ..KeyRow::default() }).await.unwrap();
    assert!(store.delete_tenant("t", UnixMs(7)).await.unwrap());
    assert!(!store.delete_tenant("t", UnixMs(8)).await.unwrap());
    assert!(store.tenants().await.unwrap().is_empty() && store.routes("t").await.unwrap().is_empty());
    assert_eq!(store.key("k").await.unwrap().unwrap().revoked_at, Some(UnixMs(7)));
    assert!(conflicts(store.put_tenant("t", "{}", Some(2)).await), "a deleted tenant was changed");
    assert_eq!(store.put_tenant("t", "{}", None).await.unwrap(), 3);
}

async fn secrets_are_kept_by_tenant_and_name(store: &dyn Store) {
    let secret = |text: &str| Secret::new(text.to_owned(), "a test");
    store.put_secret("t", "openai", &secret("sk-1")).await.unwrap();
    store.put_secret("t", "openai", &secret("sk-2")).await.unwrap();
    store.put_secret("u", "openai", &secret("sk-3")).await.unwrap();
    let read = async |tenant: &str| {
        store.secret(tenant, "openai").await.unwrap().map(|secret| secret.expose().to_owned())
    };
    assert_eq!((read("t").await.as_deref(), read("u").await.as_deref()), (Some("sk-2"), Some("sk-3")));
    assert_eq!(read("v").await, None);
    assert_eq!(store.secrets("t").await.unwrap()[0].name, "openai");
    assert!(store.delete_secret("t", "openai").await.unwrap());
    assert!(!store.delete_secret("t", "openai").await.unwrap());
    assert_eq!((read("t").await, read("u").await.as_deref()), (None, Some("sk-3")));
}

async fn bots_are_kept_found_and_revoked(store: &dyn Store) {
    let bot = BotRow {
        id: "b".into(),
        tenant: "t".into(),
        name: "booking".into(),
        created_at: UnixMs(3),
        revoked_at: None,
    };
    store.put_bot(&bot).await.unwrap();
    assert_eq!(store.bot("t", "b").await.unwrap(), Some(bot.clone()));
    assert_eq!(store.bot("u", "b").await.unwrap(), None);
    assert!(!store.revoke_bot("u", "b", UnixMs(4)).await.unwrap());
    assert!(store.revoke_bot("t", "b", UnixMs(4)).await.unwrap());
    assert_eq!(store.bots(Some("t")).await.unwrap()[0].revoked_at, Some(UnixMs(4)));
    store.put_bot(&BotRow { created_at: UnixMs(9), ..bot.clone() }).await.unwrap();
    assert_eq!(store.bots(Some("t")).await.unwrap(), [bot]);
}

async fn a_bots_key_is_one_bots_until_it_is_taken_back(store: &dyn Store) {
    let key = |kid: &str, tenant: &str, bot: &str| BotKeyRow {
        kid: kid.into(),
        tenant: tenant.into(),
        bot: bot.into(),
        jwk: format!("{{\"of\":\"{tenant}/{bot}\"}}"),
        created_at: UnixMs(5),
        revoked_at: None,
    };
    let (one, two) = (key("k1", "t", "b"), key("k2", "t", "b"));
    for row in [&one, &two, &one] {
        store.put_bot_key(row).await.unwrap();
    }
    assert_eq!(store.bot_keys(Some("t")).await.unwrap(), [one.clone(), two.clone()]);
    for thief in [key("k1", "u", "b"), key("k1", "t", "c")] {
        let refused = store.put_bot_key(&thief).await.unwrap_err();
        assert!(matches!(refused, patchbay_store::StoreError::Conflict { .. }), "{refused}");
    }
    for (tenant, bot) in [("u", "b"), ("t", "c")] {
        assert!(!store.revoke_bot_key(tenant, bot, "k1", UnixMs(6)).await.unwrap());
    }
    assert!(store.revoke_bot_key("t", "b", "k1", UnixMs(6)).await.unwrap());
    assert!(!store.revoke_bot_key("t", "b", "k1", UnixMs(7)).await.unwrap());
    assert_eq!(store.bot_keys(Some("t")).await.unwrap()[0].revoked_at, Some(UnixMs(6)));
    store.put_bot_key(&key("k1", "u", "b")).await.unwrap();
    assert_eq!(store.bot_keys(Some("u")).await.unwrap(), [key("k1", "u", "b")]);
    store.put_bot(&BotRow { id: "b".into(), tenant: "t".into(), ..BotRow::default() }).await.unwrap();
    assert!(store.revoke_bot("t", "b", UnixMs(8)).await.unwrap());
    let left: Vec<_> = store.bot_keys(None).await.unwrap();
    let left: Vec<_> = left.iter().filter(|key| key.revoked_at.is_none()).map(|key| &*key.tenant).collect();
    assert_eq!(left, ["u"], "a bot that is taken back takes its keys along, and no other's");
}

async fn the_audit_is_a_chain(store: &dyn Store) {
    for (tenant, action) in [(Some("t"), "key.put"), (None, "drain"), (Some("u"), "key.put")] {
        let draft = AuditDraft {
            tenant: tenant.map(str::to_owned),
            at: UnixMs(1),
            actor: "operator".into(),
            action: action.into(),
            target: "k1".into(),
            before: None,
            after: Some("00".into()),
        };
        store.append_audit(draft).await.unwrap();
    }
    let links = store.audit(None, 0, 100).await.unwrap();
    assert_eq!(links.len(), 3);
    assert!(links[0].follows(None) && links.windows(2).all(|pair| pair[1].follows(Some(&pair[0]))));
    assert_eq!(store.audit(Some("u"), 0, 100).await.unwrap(), links[2..]);
    assert_eq!(store.audit(None, 1, 1).await.unwrap(), links[1..2]);
}

async fn a_person_is_forgotten_and_the_sums_stay(store: &dyn Store) {
    for id in ["a", "b"] {
        store.write(&entries("t", id)).await.unwrap();
    }
    let other = patchbay_store::CallRow {
        user: Some(private("user-2")),
        caller: Some(private("+43 1 99")),
        called: None,
        ..call("t", "other")
    };
    let others_use = UsageRow { user: Some(private("user-2")), ..used("t", "other", "o1") };
    let uncalled = used("t", "lost", "l1");
    store
        .write(&[Entry::Call(other.clone()), Entry::Usage(others_use), Entry::Usage(uncalled)])
        .await
        .unwrap();
    store.write(&entries("u", "theirs")).await.unwrap();

    let user = Subject::User(private("user-1"));
    let number = Subject::Number(private("+4930-1234"));
    let gone = store.forget("t", &number).await.unwrap();
    assert_eq!((gone.calls, gone.legs, gone.transcripts, gone.usage), (2, 4, 4, 4));
    assert_eq!(gone.recordings, 2);
    assert_eq!(gone_recordings(store).await, ["/srv/t/a.wav", "/srv/t/b.wav"]);
    assert!(store.gone(UnixMs(0), "").await.unwrap().iter().all(|gone| gone.is_forgotten));
    let gone = store.forget("t", &user).await.unwrap();
    assert_eq!((gone.calls, gone.usage), (0, 1));
    assert_eq!(store.forget("t", &user).await.unwrap(), patchbay_store::Forgotten::default());
    assert_eq!(store.call("t", "a").await.unwrap(), None);
    assert_eq!(store.call("t", "other").await.unwrap().unwrap().call, other);
    assert_eq!(store.spent("t", UnixMs(0)).await.unwrap(), 6_000);
    let by_user =
        UsageQuery { tenant: Some("t".into()), group_by: vec![Group::User], ..UsageQuery::default() };
    let names: Vec<_> = store.usage(&by_user).await.unwrap().into_iter().map(|sum| sum.user).collect();
    assert_eq!(names, [None, Some(private("user-2"))]);
    assert_eq!(read_back(store, "u", "theirs").await, entries("u", "theirs"));
    let gone = store.forget("u", &Subject::User(private("user-1"))).await.unwrap();
    assert_eq!((gone.calls, gone.usage), (1, 2));
}

async fn a_call_that_runs_on_does_not_write_a_forgotten_person_back(store: &dyn Store) {
    let mut running = entries("t", "running");
    for entry in &mut running {
        if let Entry::Call(row) = entry {
            row.ended_at = None;
        }
    }
    store.write(&running).await.unwrap();
    store.write(&entries("u", "running")).await.unwrap();
    assert_eq!(store.forget("t", &Subject::Number(private("+4930-1234"))).await.unwrap().calls, 1);
    let mut later = entries("t", "running");
    for entry in &mut later {
        match entry {
            Entry::Call(row) => row.revision += 1,
            Entry::Usage(row) => row.source.push_str("-later"),
            Entry::Leg(_) | Entry::Transcript(_) => {}
        }
    }
    store.write(&later).await.unwrap();
    assert_eq!(store.call("t", "running").await.unwrap(), None);
    let theirs =
        UsageQuery { tenant: Some("t".into()), group_by: vec![Group::User], ..UsageQuery::default() };
    let sums = store.usage(&theirs).await.unwrap();
    let named: Vec<_> = sums.into_iter().map(|sum| (sum.user, sum.rows)).collect();
    assert_eq!(named, [(None, 4)], "what was used later is kept, and names nobody");
    assert_eq!(
        read_back(store, "u", "running").await,
        entries("u", "running"),
        "another tenant's call of that id"
    );
}

/// Recordings to be removed, read page by page from the first call on.
async fn gone_recordings(store: &dyn Store) -> Vec<String> {
    let page = store.gone(UnixMs(0), "").await.unwrap();
    if let Some(first) = page.first() {
        let rest = store.gone(UnixMs(0), &first.call).await.unwrap();
        assert_eq!(rest, page[1..]);
    }
    assert_eq!(store.gone(UnixMs(i64::MAX), "").await.unwrap(), []);
    page.into_iter().filter_map(|gone| gone.recording).collect()
}

async fn what_is_too_old_goes(store: &dyn Store) {
    let day = UnixMs::DAY;
    for (id, began) in [("old", 100), ("mid", 200), ("new", 300)] {
        let at = UnixMs(began * day);
        let mut entries = entries("t", id);
        for entry in &mut entries {
            match entry {
                Entry::Call(row) => row.started_at = at,
                Entry::Leg(row) => row.started_at = at,
                Entry::Usage(row) => row.at = at,
                Entry::Transcript(_) => {}
            }
        }
        store.write(&entries).await.unwrap();
    }
    store.write(&entries("u", "theirs")).await.unwrap();
    let horizon = Horizon {
        transcripts: UnixMs(250 * day),
        calls: UnixMs(150 * day),
        usage: UnixMs(50 * day),
        recordings: UnixMs(250 * day),
        gone: UnixMs(0),
    };
    let gone = store.retain("t", &horizon).await.unwrap();
    assert_eq!((gone.calls, gone.transcripts, gone.usage, gone.recordings), (1, 4, 0, 2));
    assert_eq!(gone_recordings(store).await, ["/srv/t/mid.wav", "/srv/t/old.wav"]);
    assert_eq!(store.call("t", "old").await.unwrap(), None);
    let mid = store.call("t", "mid").await.unwrap().unwrap();
    assert_eq!((mid.legs.len(), mid.transcript.len(), mid.usage.len()), (2, 0, 2));
    assert_eq!(mid.call.recording, None);
    assert_eq!(store.call("t", "new").await.unwrap().unwrap().transcript.len(), 2);
    assert_eq!(store.retain("t", &horizon).await.unwrap(), patchbay_store::Retained::default());
    let by_user =
        UsageQuery { tenant: Some("t".into()), group_by: vec![Group::User], ..UsageQuery::default() };
    let named: Vec<_> =
        store.usage(&by_user).await.unwrap().into_iter().map(|sum| (sum.user, sum.rows)).collect();
    assert_eq!(
        named,
        [(None, 2), (Some(private("user-1")), 4)],
        "money of a call that is gone names somebody"
    );
    let money_too = Horizon { usage: UnixMs(250 * day), ..horizon };
    assert_eq!(store.retain("t", &money_too).await.unwrap().usage, 4);
    let long_ago = Horizon { gone: UnixMs(i64::MAX), ..horizon };
    store
        .retain("u", &Horizon { recordings: UnixMs(0), calls: UnixMs(0), transcripts: UnixMs(0), ..long_ago })
        .await
        .unwrap();
    assert_eq!(gone_recordings(store).await.len(), 2, "another tenant's notes stay");
    store.retain("t", &long_ago).await.unwrap();
    assert_eq!(gone_recordings(store).await, [""; 0]);
    assert_eq!(read_back(store, "u", "theirs").await, entries("u", "theirs"));
    assert_eq!(store.tenants_with_rows().await.unwrap(), ["t", "u"]);
}

async fn rotating_a_tenants_key_changes_no_row(store: &dyn Store) {
    store.write(&entries("t", "c")).await.unwrap();
    store.put_secret("t", "openai", &Secret::new("sk-1".into(), "a test")).await.unwrap();
    for _ in 0..2 {
        let sealed = store.rotate_tenant("t").await.unwrap();
        // A secret, a user, two numbers, keys pressed, two transcripts; memory seals nothing.
        assert!(sealed == 7 || store.schema_version().await.unwrap() == 0, "{sealed} values");
        assert_eq!(read_back(store, "t", "c").await, entries("t", "c"));
        assert_eq!(store.secret("t", "openai").await.unwrap().unwrap().expose(), "sk-1");
    }
    let gone = store.forget("t", &Subject::Number(private("+49301234"))).await.unwrap();
    assert_eq!(gone.calls, 1, "a number is not found again after a rotation");
}

async fn text_from_outside_cannot_make_a_batch_impossible(store: &dyn Store) {
    let mut strange = used("t", "c\0'; DROP TABLE calls; --", "\0");
    strange.tokens.text_in = u64::MAX;
    strange.cost_micro_usd = i64::MAX;
    let mut odd = call("t", "o\0dd");
    odd.dtmf = private("\0\u{1f600}");
    odd.cost_micro_usd = i64::MIN;
    odd.revision = u64::MAX;
    store.write(&[Entry::Usage(strange.clone()), Entry::Call(odd)]).await.unwrap();
    strange.source = "other".into();
    store.write(&[Entry::Usage(strange)]).await.unwrap();
    assert_eq!(store.usage(&UsageQuery::default()).await.unwrap()[0].rows, 2);
}
