//! Debian's nginx before the gateway, as it is installed, and as our README says for bots that stream.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

/// What the README says for bots that stream.
pub(crate) const UNBUFFERED: &str = "proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; \
                                     client_max_body_size 0; proxy_read_timeout 1h; proxy_send_timeout 1h;";

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) at: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Before `gateway`, with `more` in its location.
    pub(crate) async fn before(gateway: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        // A port that was free a moment ago: nginx cannot be asked to choose one.
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let debian =
            std::fs::read_to_string("/etc/nginx/nginx.conf").expect("tests/setup.sh installs nginx-light");
        let site = format!(
            "client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; \
             scgi_temp_path {here}/s;\nserver {{ listen {at}; location / {{ proxy_pass http://{gateway}; {more} }} }}"
        );
        let kept = debian.lines().filter(|line| {
            !line.starts_with("user ") && !line.contains("modules-enabled") && !line.contains("conf.d")
        });
        let conf = kept.collect::<Vec<_>>().join("\n");
        let conf = conf
            .replace("/run/nginx.pid", &format!("{here}/pid"))
            .replace("/var/log/nginx", &here.to_string());
        let conf = conf.replace("include /etc/nginx/sites-enabled/*;", &site);
        assert!(conf.contains("proxy_pass"), "Debian's nginx.conf has another form than it had");
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, conf).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .args(["-p".as_ref(), folder.path().as_os_str(), "-c".as_ref(), path.as_os_str()])
            .args(["-g", "daemon off; master_process off;"])
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .expect("tests/setup.sh installs nginx-light");
        let nginx = Self { at, child, _folder: folder };
        for _ in 0..100 {
            if TcpStream::connect(at).await.is_ok() {
                return nginx;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nginx does not listen at {at}");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
