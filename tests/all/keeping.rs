//! What is kept: tenants that are managed at run time, calls that outlive a restart, persons who are forgotten.

use patchbay::cli::call::place;
use patchbay::cli::folder::Folder;

use crate::stage::{Stage, bytes_below, json, model_that_says};

const TOML: &str = "application/toml";
const JSON: &str = "application/json";

fn database(folder: &Folder) -> String {
    format!("sqlite://{}", folder.path().join("patchbay.db").display())
}

async fn stage(folder: &Folder) -> Stage {
    stage_with(folder, "").await
}

async fn stage_with(folder: &Folder, file: &str) -> Stage {
    let url = database(folder);
    Stage::set_with(model_that_says("model-answer.wav"), file, &[("PATCHBAY__STORAGE__URL", &url)]).await
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_tenant_put_into_the_database_takes_calls_with_a_sealed_key_at_once() {
    let folder = Folder::new("test").unwrap();
    let stage = stage(&folder).await;
    let provider = stage.provider();
    let text = format!(
        "[providers.own]\nkind = \"openai\"\nbase_url = \"{provider}\"\nkey = {{ sealed = \"openai\" }}\n\
         [routes.desk]\ngreeting = \"\"\n"
    );
    let early = stage.order("PUT /admin/tenants/acme", TOML, &text).await;
    assert!(early.starts_with("HTTP/1.1 422"), "its secret is not there yet: {early}");
    assert!(early.contains("keeps no secret `openai`"), "{early}");
    let sealed =
        stage.order("PUT /admin/tenants/acme/secrets/openai", "text/plain", "sk-canary-4711\n").await;
    assert!(sealed.starts_with("HTTP/1.1 204"), "{sealed}");
    let put = stage.order("PUT /admin/tenants/acme", TOML, &text).await;
    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    let report = place(&stage.caller_of("acme", "desk", "caller-short.wav"), |_| ()).await.unwrap();
    assert!(report.speech_came_back, "{report:?}");

    let minted = stage.order("POST /admin/tenants/acme/keys", JSON, "{\"name\":\"ci\"}").await;
    let key = json(&minted)["key"].as_str().unwrap().to_owned();
    let list = json(&stage.get("/v1/calls?limit=1", &key).await);
    let call = &list["data"][0];
    assert_eq!((&call["tenant"], &call["state"]), (&"acme".into(), &"ended".into()), "{list}");
    let id = call["id"].as_str().unwrap();
    let whole = json(&stage.get(&format!("/v1/calls/{id}"), &key).await);
    assert!(whole["cost_micro_usd"].as_i64().unwrap() > 0, "{whole}");
    assert!(whole["transcript"].as_array().is_some_and(|said| !said.is_empty()), "{whole}");
    assert!(whole["legs"].as_array().is_some_and(|legs| legs.len() == 2), "{whole}");

    let tenants = json(&stage.admin("/admin/tenants").await);
    let names: Vec<_> =
        tenants["data"].as_array().unwrap().iter().map(|tenant| tenant["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "default"], "the first tenant of the database takes nobody's place");
    let unclear = stage.get("/v1/calls?limit=many", &key).await;
    assert!(unclear.starts_with("HTTP/1.1 400") && unclear.contains("\"param\":\"query\""), "{unclear}");
    for query in ["calls?limit=many", "calls?limt=1", "audit?after=x"] {
        let unclear = stage.admin(&format!("/admin/{query}")).await;
        assert!(unclear.starts_with("HTTP/1.1 400") && unclear.contains("\"param\":\"query\""), "{unclear}");
    }
    let shown = stage.admin("/admin/tenants/acme").await;
    assert!(!shown.contains("sk-canary-4711"), "{shown}");
    let bad = stage.order("PUT /admin/tenants/acme", TOML, "[limits]\ncalls_max = 0\n").await;
    assert!(bad.starts_with("HTTP/1.1 422") && bad.contains("tenant acme:2:13"), "{bad}");
    let revoked = stage
        .order(&format!("DELETE /admin/tenants/acme/keys/{}", key.split('_').nth(1).unwrap()), JSON, "")
        .await;
    assert!(revoked.starts_with("HTTP/1.1 204"), "{revoked}");
    assert!(stage.get("/v1/calls", &key).await.starts_with("HTTP/1.1 401"), "a revoked key opens nothing");
    let audit = json(&stage.admin("/admin/audit").await);
    let actions: Vec<_> =
        audit["data"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["secret.put", "tenant.put", "key.put", "key.revoke"], "each change is audited");
    stage.clear().await;
    assert!(!holds(&bytes_below(folder.path()), "sk-canary-4711"), "the key lies open in the database");
}

#[tokio::test]
async fn a_call_outlives_a_restart_and_a_person_who_is_forgotten_does_not() {
    let (folder, sound) = (Folder::new("test").unwrap(), Folder::new("test").unwrap());
    let recorded = format!(
        "[server]\nrecordings = {:?}\n[tenants.default.routes.default]\n\
         recording = {{ enabled = true, folder = {:?} }}",
        sound.path(),
        sound.path()
    );
    let before = stage_with(&folder, &recorded).await;
    let mut caller = before.caller("caller-short.wav");
    caller.from = "+4915550004711".to_owned();
    assert!(place(&caller, |_| ()).await.unwrap().speech_came_back);
    before.clear().await;
    let files = || std::fs::read_dir(sound.path()).unwrap().count();
    assert_eq!(files(), 2, "the call's sound, and its inputs for a replay");

    let after = stage_with(&folder, &recorded).await;
    let list = json(&after.admin("/admin/calls?tenant=default&limit=20").await);
    let call = &list["data"][0];
    assert_eq!(call["from"], "+4915550004711", "{list}");
    let id = call["id"].as_str().unwrap();
    assert_eq!(call["recording"], format!("{id}.wav"), "{list}");
    let path = format!("/admin/calls/{id}?tenant=default");
    let whole = json(&after.admin(&path).await);
    let said = whole["transcript"][0]["text"].as_str().unwrap().to_owned();
    assert!(!said.is_empty());
    let on_disk = bytes_below(folder.path());
    assert!(
        !holds(&on_disk, &said) && !holds(&on_disk, "4915550004711"),
        "personal data lies open on the disk"
    );

    let number = "{\"number\":\"+4915550004711\"}";
    let forgotten = json(&after.order("POST /admin/tenants/default/forget", JSON, number).await);
    assert_eq!((&forgotten["calls"], &forgotten["legs"]), (&1.into(), &2.into()), "{forgotten}");
    assert_eq!((&forgotten["recordings"], &forgotten["files"], files()), (&1.into(), &2.into(), 0));
    assert!(after.admin(&path).await.starts_with("HTTP/1.1 404"));
    let usage = json(&after.admin("/admin/usage?group_by=tenant").await);
    assert!(!usage["data"].as_array().unwrap().is_empty(), "what was used is still known: {usage}");
    after.clear().await;
}

#[tokio::test]
async fn the_admin_listener_serves_this_machine_and_no_page_in_its_browser() {
    let stage = Stage::set(model_that_says("model-answer.wav"), "").await;
    let by_page = stage.order("POST /admin/drain", "text/plain\r\norigin: https://evil.example", "").await;
    assert!(by_page.starts_with("HTTP/1.1 403"), "{by_page}");
    assert!(stage.drain().is_serving());
    let no_database = stage.order("PUT /admin/tenants/acme", TOML, "").await;
    assert!(no_database.starts_with("HTTP/1.1 409") && no_database.contains("storage.url"), "{no_database}");
    let drained = stage.order("POST /admin/drain", JSON, "").await;
    assert!(drained.starts_with("HTTP/1.1 200"), "{drained}");
    assert!(!stage.drain().is_serving());
    stage.clear().await;
}
