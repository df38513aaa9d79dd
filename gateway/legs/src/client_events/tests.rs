use super::*;

fn client(policy: Policy) -> ClientEvents {
    let session =
        json!({ "id": "sess_1", "type": "realtime", "model": "m", "audio": {"output": {"voice": "marin"}} });
    let Value::Object(session) = session else { unreachable!("an object was written") };
    let media = Media { ingress: Format::L16_24K, egress: Format::L16_24K };
    ClientEvents::in_band(Config { session, policy, is_flat: false }, media)
}

fn told(event: &Value) -> Told {
    Told::event(event.to_string().into())
}

fn announce(client: &mut ClientEvents, utterance: u32, item: &str) {
    let event = json!({ "type": "response.output_audio.delta", "response_id": "resp_1", "item_id": item,
        "output_index": 0, "content_index": 0 });
    let told = Told { utterance: Some(UtteranceId(utterance)), event: event.to_string().into() };
    client.on_told(&told, &mut Outbox::default());
}

/// What the client was told, and what the call.
fn take(out: &mut Outbox) -> (Vec<Value>, Vec<Event>) {
    let texts = out.wires.drain(..).map(|wire| match wire {
        patchbay_core::Wire::Text(text) => serde_json::from_slice(&text).expect("what we write is JSON"),
        other => panic!("{other:?}"),
    });
    (texts.collect(), std::mem::take(&mut out.events))
}

fn message(client: &mut ClientEvents, event: &Value) -> (Vec<Value>, Vec<Event>) {
    let mut out = Outbox::default();
    client.on_message(&Bytes::from(event.to_string()), &mut out);
    take(&mut out)
}

#[test]
fn the_first_event_tells_the_conversation_in_the_clients_formats() {
    let mut out = Outbox::default();
    client(Policy::usual()).opened(&mut out);
    let (said, events) = take(&mut out);
    assert_eq!(events, []);
    assert_eq!(said[0]["type"], "session.created");
    assert!(said[0]["event_id"].is_string());
    assert_eq!(said[0]["session"]["audio"]["input"]["format"], json!({"type": "audio/pcm", "rate": 24_000}));
    assert_eq!(said[0]["session"]["audio"]["output"]["voice"], "marin");
    assert_eq!(said[0]["session"]["object"], "realtime.session");
}

#[test]
fn audio_passes_in_base64_and_what_is_none_is_refused_by_name() {
    let mut client = client(Policy::usual());
    let (said, events) =
        message(&mut client, &json!({"type": "input_audio_buffer.append", "audio": "AAAA/w=="}));
    assert_eq!(said, [] as [Value; 0]);
    let [Event::AudioReceived(frame)] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(&frame.payload, Payload::Base64(text) if text == "AAAA/w=="));
    for (audio, why) in [("AAA", "base64"), ("AAAA", "within a sample"), ("\u{e9}", "base64")] {
        let (said, events) =
            message(&mut client, &json!({"type": "input_audio_buffer.append", "audio": audio}));
        assert_eq!(events, []);
        assert!(said[0]["error"]["message"].as_str().unwrap().contains(why), "{said:?}");
    }
}

#[test]
fn an_update_is_answered_even_when_nothing_of_it_is_allowed_and_its_model_is_a_hint() {
    let mut client = client(Policy::usual());
    let event = json!({"type": "session.update", "event_id": "e", "session": {"model": "gpt-realtime", "instructions": "x"}});
    let (said, events) = message(&mut client, &event);
    assert_eq!(events, []);
    assert_eq!(said[0]["type"], "session.updated");
    assert_eq!((&said[0]["session"]["model"], &said[0]["session"]["voice"]), (&json!("m"), &Value::Null));
    assert_eq!(said[0]["session"]["patchbay"]["not_applied"], json!(["instructions"]));
}

#[test]
fn an_update_that_is_allowed_goes_to_the_model_and_is_answered_when_it_holds() {
    let mut client = client(Policy::usual());
    let event = json!({"type": "session.update", "event_id": "e", "session": {"audio": {"output": {"voice": "cedar"}}}});
    let (said, events) = message(&mut client, &event);
    assert_eq!(said, [] as [Value; 0]);
    let [Event::Told(to_model)] = &events[..] else { panic!("{events:?}") };
    let to_model: Value = serde_json::from_slice(&to_model.event).unwrap();
    assert_eq!(to_model["session"], json!({"type": "realtime", "audio": {"output": {"voice": "cedar"}}}));
    let mut out = Outbox::default();
    let of_model = json!({"type": "session.updated", "event_id": "x", "session": {"id": "sess_of_the_provider",
        "instructions": "secret", "tools": [{"name": "secret"}],
        "audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"}}}});
    client.on_told(&told(&of_model), &mut out);
    let (said, _) = take(&mut out);
    let session = &said[0]["session"];
    assert_eq!((&session["id"], &session["audio"]["output"]["voice"]), (&json!("sess_1"), &json!("cedar")));
    assert_eq!(session["audio"]["output"]["format"]["type"], "audio/pcm", "its own, not the model's");
    assert!(!said[0].to_string().contains("secret"), "{said:?}");
}

#[test]
fn a_client_may_choose_its_formats_and_the_call_learns_of_it() {
    let mut client = client(Policy::usual());
    let session = json!({"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}});
    let (said, events) = message(&mut client, &json!({"type": "session.update", "session": session}));
    assert_eq!(events, [Event::Renegotiated]);
    assert_eq!(client.media(), Media { ingress: Format::PCMU, egress: Format::PCMA });
    assert_eq!(said[0]["session"]["audio"]["output"]["format"], json!({"type": "audio/pcma"}));
    let odd = json!({"audio": {"input": {"format": {"type": "audio/opus"}}}});
    let (said, events) =
        message(&mut client, &json!({"type": "session.update", "event_id": "e7", "session": odd}));
    assert_eq!(events, []);
    assert_eq!(said[0]["error"]["param"], "session.audio.input.format");
    assert_eq!(said[0]["error"]["event_id"], "e7");
}

#[test]
fn deltas_carry_the_names_that_the_model_gave_and_the_audio_as_it_is() {
    let mut client = client(Policy::usual());
    announce(&mut client, 3, "item_9");
    let payload = Payload::base64(Bytes::from_static(b"AAAA")).unwrap();
    let frame = Frame::speech(Format::L16_24K, payload, MediaTime::ZERO, UtteranceId(3));
    let mut out = Outbox::default();
    client.play(&frame, &mut out);
    let (said, _) = take(&mut out);
    let expected = json!({"type": "response.output_audio.delta", "event_id": "event_pb_1", "response_id": "resp_1",
        "item_id": "item_9", "output_index": 0, "content_index": 0, "delta": "AAAA"});
    assert_eq!(said, [expected]);
}

#[test]
fn what_a_client_played_is_told_by_utterance() {
    let mut client = client(Policy::usual());
    announce(&mut client, 3, "item_9");
    let event = json!({"type": "conversation.item.truncate", "item_id": "item_9", "content_index": 0, "audio_end_ms": 640});
    let (said, events) = message(&mut client, &event);
    assert_eq!(said, [] as [Value; 0]);
    assert_eq!(events, [Event::ListenerCut { utterance: UtteranceId(3), heard: MediaTime::from_ms(640) }]);
    let event = json!({"type": "output_audio_buffer.played", "item_id": "item_9", "audio_ms": 99.9});
    let (_, events) = message(&mut client, &event);
    assert_eq!(events, [Event::Played { utterance: UtteranceId(3), so_far: MediaTime::from_ms(99) }]);
    let (_, events) = message(&mut client, &json!({"type": "output_audio_buffer.clear"}));
    assert_eq!(events, [Event::Interrupted]);
    for bad in [
        json!({"type": "conversation.item.truncate", "event_id": "t", "item_id": "item_8", "audio_end_ms": 1}),
        json!({"type": "conversation.item.truncate", "event_id": "t", "item_id": "item_9", "audio_end_ms": -1}),
        json!({"type": "conversation.item.truncate", "event_id": "t", "item_id": "item_9", "audio_end_ms": "1"}),
        json!({"type": "conversation.item.truncate", "event_id": "t", "audio_end_ms": 1}),
    ] {
        let (said, events) = message(&mut client, &bad);
        assert_eq!((said[0]["error"]["event_id"].as_str(), events.len()), (Some("t"), 0), "{bad}");
    }
}

#[test]
fn a_page_speaks_as_its_user_only() {
    let mut client = client(Policy::usual());
    let item = |role: &str| {
        json!({"type": "conversation.item.create", "event_id": "e",
        "item": {"type": "message", "role": role, "content": [{"type": "input_text", "text": "hi"}]}})
    };
    assert!(matches!(message(&mut client, &item("user")).1[..], [Event::Told(_)]));
    for role in ["system", "assistant", "developer"] {
        let (said, events) = message(&mut client, &item(role));
        assert_eq!((said[0]["error"]["code"].as_str(), events.len()), (Some("not_permitted"), 0), "{role}");
    }
    let asked = json!({"type": "response.create", "response": {"instructions": "Obey.", "metadata": {"a": "b"}, "input": []}});
    let (_, events) = message(&mut client, &asked);
    let [Event::Told(to_model)] = &events[..] else { panic!("{events:?}") };
    let to_model: Value = serde_json::from_slice(&to_model.event).unwrap();
    assert_eq!(to_model["response"], json!({"metadata": {"a": "b"}}));
}

#[test]
fn nonsense_is_answered_with_an_error_and_counted_as_such() {
    let mut client = client(Policy::All);
    for (text, sense) in [
        ("", Sense::None),
        ("[]", Sense::None),
        ("{\"type\":3}", Sense::None),
        ("{\"type\":\"session.created\"}", Sense::None),
        ("{\"type\":\"session.update\"}", Sense::Some),
        ("{\"type\":\"response.cancel\"}", Sense::Some),
    ] {
        let mut out = Outbox::default();
        assert_eq!(client.on_message(&Bytes::from_static(text.as_bytes()), &mut out), sense, "{text}");
        let (said, events) = take(&mut out);
        assert_eq!(said.len() + events.len(), 1, "{text}");
    }
}

#[test]
fn playing_beside_the_events_begins_and_ends_once_a_response() {
    let mut client = client(Policy::usual());
    let mut out = Outbox::default();
    announce(&mut client, 1, "item_1");
    announce(&mut client, 2, "item_2");
    client.started(UtteranceId(1), &mut out);
    client.started(UtteranceId(2), &mut out);
    client.stopped(&mut out);
    client.stopped(&mut out);
    client.started(UtteranceId(2), &mut out);
    client.cleared(&mut out);
    let (said, _) = take(&mut out);
    let names: Vec<_> = said.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let buffer =
        ["started", "stopped", "started", "cleared"].map(|name| format!("output_audio_buffer.{name}"));
    assert_eq!(names, buffer);
    assert!(said.iter().all(|event| event["response_id"] == "resp_1"));
}

#[test]
fn an_old_client_is_spoken_to_in_its_own_shape() {
    let mut old = client(Policy::usual());
    old.config.is_flat = true;
    let event =
        json!({"type": "session.update", "session": {"input_audio_format": "g711_ulaw", "voice": "cedar"}});
    let (_, events) = message(&mut old, &event);
    assert_eq!(events.first(), Some(&Event::Renegotiated));
    let [_, Event::Told(to_model)] = &events[..] else { panic!("{events:?}") };
    let to_model: Value = serde_json::from_slice(&to_model.event).unwrap();
    assert_eq!(to_model["session"]["audio"], json!({"output": {"voice": "cedar"}}));
    let mut out = Outbox::default();
    old.on_told(
        &told(&json!({"type": "response.output_audio.done", "event_id": "x", "item_id": "i"})),
        &mut out,
    );
    old.on_told(&told(&json!({"type": "conversation.item.done", "event_id": "y", "item": {}})), &mut out);
    old.play(
        &Frame::speech(
            Format::L16_24K,
            Payload::Raw(Bytes::from_static(&[0; 2])),
            MediaTime::ZERO,
            UtteranceId(1),
        ),
        &mut out,
    );
    old.opened(&mut out);
    let (said, _) = take(&mut out);
    let names: Vec<_> = said.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["response.audio.done", "response.audio.delta", "session.created"]);
    assert_eq!(said[2]["session"]["input_audio_format"], "g711_ulaw");
}
