//! Two tenants with the same ids: whatever they do, each sees what it would see alone.

use patchbay_store::{
    BotKeyRow, BotRow, CallFilter, Entry, Horizon, MemoryStore, Page, Secret, Store, Subject, UnixMs,
    UsageQuery, open,
};
use proptest::prelude::*;

use crate::places::master;
use crate::rows::{call, leg, private, said, used};

/// What a tenant may do. The numbers choose among few ids, so that both hit the same.
#[derive(Clone, Debug)]
enum Act {
    Write(u8),
    PutRoute(u8),
    PutSecret(u8),
    PutBot(u8),
    RevokeBot(u8),
    Forget,
    Retain,
    Rotate,
}

fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
    let act = prop_oneof![
        4 => (0..3_u8).prop_map(Act::Write),
        1 => (0..3_u8).prop_map(Act::PutRoute),
        1 => (0..3_u8).prop_map(Act::PutSecret),
        1 => (0..3_u8).prop_map(Act::PutBot),
        1 => (0..3_u8).prop_map(Act::RevokeBot),
        1 => Just(Act::Forget),
        1 => Just(Act::Retain),
        1 => Just(Act::Rotate),
    ];
    proptest::collection::vec((any::<bool>(), act), 1..12)
}

async fn act(store: &dyn Store, tenant: &str, act: &Act) {
    match act {
        Act::Write(i) => {
            let id = format!("call_{i}");
            let entries = [
                Entry::Call(call(tenant, &id)),
                Entry::Leg(leg(tenant, &id, 0)),
                Entry::Transcript(said(tenant, &id, 0, &format!("{tenant} speaks"))),
                Entry::Usage(used(tenant, &id, &format!("{tenant}/{i}"))),
            ];
            store.write(&entries).await.unwrap();
        }
        Act::PutRoute(i) => drop(store.put_route(tenant, &i.to_string(), tenant, None).await),
        Act::PutSecret(i) => {
            let secret = Secret::new(format!("{tenant}'s"), "a test");
            store.put_secret(tenant, &i.to_string(), &secret).await.unwrap();
        }
        Act::PutBot(i) => {
            let bot =
                BotRow { id: i.to_string(), tenant: tenant.into(), name: tenant.into(), ..BotRow::default() };
            store.put_bot(&bot).await.unwrap();
            let (kid, bot) = (format!("{tenant}/{i}"), i.to_string());
            let key = BotKeyRow { kid, tenant: tenant.into(), bot, ..BotKeyRow::default() };
            store.put_bot_key(&key).await.unwrap();
        }
        Act::RevokeBot(i) => drop(store.revoke_bot(tenant, &i.to_string(), UnixMs(9)).await.unwrap()),
        Act::Forget => drop(store.forget(tenant, &Subject::User(private("user-1"))).await.unwrap()),
        Act::Retain => {
            let all = Horizon {
                transcripts: UnixMs(i64::MAX),
                calls: UnixMs(0),
                usage: UnixMs(0),
                recordings: UnixMs(0),
                gone: UnixMs(0),
            };
            store.retain(tenant, &all).await.unwrap();
        }
        Act::Rotate => drop(store.rotate_tenant(tenant).await.unwrap()),
    }
}

/// All that a tenant can read.
async fn view(store: &dyn Store, tenant: &str) -> String {
    let filter = CallFilter { tenant: Some(tenant.into()), user: None };
    let (calls, _) = store.calls(&filter, &Page { after: None, limit: 100 }).await.unwrap();
    let mut pages = Vec::new();
    for i in 0..3 {
        pages.push(store.call(tenant, &format!("call_{i}")).await.unwrap());
    }
    let mut secrets = Vec::new();
    for named in store.secrets(tenant).await.unwrap() {
        let secret = store.secret(tenant, &named.name).await.unwrap();
        secrets.push((named.name, secret.map(|secret| secret.expose().to_owned())));
    }
    let usage = UsageQuery { tenant: Some(tenant.into()), ..UsageQuery::default() };
    let usage = store.usage(&usage).await.unwrap();
    let (routes, bots) = (store.routes(tenant).await.unwrap(), store.bots(Some(tenant)).await.unwrap());
    let keys = store.bot_keys(Some(tenant)).await.unwrap();
    // As JSON, which tells personal fields apart.
    format!("{}", serde_json::json!([calls, pages, secrets, usage, routes, bots, keys]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_tenant_sees_what_it_would_see_alone(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}/patchbay.db", folder.path().display());
            let shared = open(&url, &master()).await.unwrap();
            for (first, act) in &acts {
                self::act(&*shared, if *first { "t" } else { "u" }, act).await;
            }
            for tenant in ["t", "u"] {
                let alone = MemoryStore::new();
                for (_, act) in acts.iter().filter(|(first, _)| *first == (tenant == "t")) {
                    self::act(&alone, tenant, act).await;
                }
                assert_eq!(view(&*shared, tenant).await, view(&alone, tenant).await);
            }
        });
    }
}
