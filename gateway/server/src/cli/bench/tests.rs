//! The load against the relay, in this process: what is sent arrives, is counted, and its latency is of this world.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::relay::relay_all;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_through_the_relay_is_counted_once() {
    let (sent_ready, ready) = channel();
    let (orders, taken_orders) = channel();
    let load = Load::new(ModelFrame::Pcm24, None, sent_ready, taken_orders).unwrap();
    let [_, far_port] = load.ports().unwrap();
    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = relay.local_addr().unwrap();
    tokio::spawn(relay_all(relay, (Ipv4Addr::LOCALHOST, far_port).into()));
    let heard = tokio::task::spawn_blocking(move || {
        let load = std::thread::spawn(move || load.run());
        for nth in 0..3 {
            let socket = TcpStream::connect(near).unwrap();
            let call = ready.recv_timeout(READY_WITHIN).unwrap();
            orders.send(Order::Caller { socket, call, sid: format!("MZ{nth}") }).unwrap();
        }
        orders.send(Order::Speak(Some(Through::Relay))).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        orders.send(Order::Speak(None)).unwrap();
        std::thread::sleep(SETTLE);
        let (answer, answered) = channel();
        orders.send(Order::Report(Through::Relay, answer)).unwrap();
        orders.send(Order::Stop).unwrap();
        load.join().unwrap().unwrap();
        answered.recv().unwrap()
    });
    let heard = heard.await.unwrap();
    for direction in [heard.up, heard.down] {
        // 3 calls, 20 frames each, more or less one.
        assert!((50..=70).contains(&direction.sent), "{direction:?}");
        assert_eq!(direction.lost, 0, "{direction:?}");
        assert!(direction.p50_ms < 100.0, "{direction:?}");
    }
}

#[test]
fn a_table_names_both_and_their_ratio() {
    let side =
        |cpu_us: f64| Side { cpu_us, user_us: cpu_us / 4.0, system_us: cpu_us * 0.75, ..Side::default() };
    let bench = Bench {
        profile: Profile::Ulaw,
        calls: 500,
        seconds: 20,
        gateway: side(500.0),
        relay: side(400.0),
        cpu_ratio: 1.25,
        idle_rss_kib: 12_288,
        call_rss_kib: 20.0,
    };
    let table = table(&bench);
    let cpu = table.lines().find(|line| line.starts_with("CPU")).unwrap();
    assert_eq!(cpu.split_whitespace().skip(4).collect::<Vec<_>>(), ["500", "400", "1.25"]);
    assert!(table.contains("20.0 KiB over 12.0 MiB idle"), "{table}");
}
