//! A real Chromium, driven over WebDriver, with a security key that Chromium itself plays (W3C WebAuthn Level 3 §11).

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a page may take; far more than it needs, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The key of an element's reference (WebDriver §12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of its own, with nothing kept from another one.
pub(crate) struct Chromium {
    driver: Child,
    http: reqwest::Client,
    session: String,
    _profile: tempfile::TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The driver leads its group, in which the browser's processes are.
        if let Some(group) = rustix::process::Pid::from_raw(self.driver.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

impl Chromium {
    /// Starts one without a window.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("HOME", profile.path()).process_group(0);
        let mut driver = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let port = line.split_once("successfully on port ")?.1.trim_end_matches('.');
            Some(port.to_owned())
        });
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let folder = profile.path().join("profile");
        let folder = folder.display();
        let mut browser =
            Self { driver, http, session: format!("http://127.0.0.1:{}", port.unwrap()), _profile: profile };
        // A container has no namespaces for the browser's own sandbox; it meets nothing but the server under test.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-breakpad",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={folder}"));
        let options = json!({ "args": arguments });
        let wanted =
            json!({ "browserName": "chrome", "goog:chromeOptions": options, "webauthn:virtualAuthenticators": true });
        let made = browser.post("/session", &json!({ "capabilities": { "alwaysMatch": wanted } })).await;
        browser.session = format!("{}/session/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.http.post(format!("{}{path}", self.session)).header("content-type", "application/json");
        Self::read(request.body(body.to_string())).await
    }

    async fn get(&self, path: &str) -> Value {
        Self::read(self.http.get(format!("{}{path}", self.session))).await.unwrap()
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.send().await.unwrap();
        let is_done = answer.status().is_success();
        let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        if is_done { Ok(told["value"].clone()) } else { Err(told.to_string()) }
    }

    /// Plugs in a security key with a PIN, whose owner touches it at once.
    pub(crate) async fn plug_in_key(&self) {
        let key = json!({
            "protocol": "ctap2",
            "transport": "usb",
            "hasResidentKey": true,
            "hasUserVerification": true,
            "isUserVerified": true,
            "isUserConsenting": true,
        });
        self.post("/webauthn/authenticator", &key).await;
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// Types into the field that a CSS selector names.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/clear"), &json!({})).await;
        self.post(&format!("/element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Clicks, as soon as the element is there to be clicked.
    pub(crate) async fn click(&self, selector: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.element(selector).await;
            match self.try_post(&format!("/element/{element}/click"), &json!({})).await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn element(&self, selector: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.try_post("/element", &json!({ "using": "css selector", "value": selector })).await;
            match found {
                Ok(found) => return found[ELEMENT].as_str().unwrap().to_owned(),
                Err(error) => assert!(Instant::now() < deadline, "{selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the browser is at an address.
    pub(crate) async fn arrive(&self, url: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let at = self.get("/url").await;
            if at == url {
                return;
            }
            assert!(Instant::now() < deadline, "at {at} and not at {url}: {}", self.source().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The page as it is now.
    pub(crate) async fn source(&self) -> String {
        self.get("/source").await.as_str().unwrap_or_default().to_owned()
    }
}
