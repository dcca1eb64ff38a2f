//! A browser without JavaScript: it keeps a cookie, sends the hidden fields of the form that it was shown, and follows
//! redirects only when told to.

use reqwest::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};

use crate::support::application::{PASSWORD, TestUser};
use crate::support::requests::{Answer, FORM, form};
use crate::support::server::Server;

pub(super) struct Browser {
    http: reqwest::Client,
    site: String,
    /// The cookie's name and value, where one was set.
    pub(super) cookie: Option<String>,
}

impl Browser {
    pub(super) fn new(server: &Server) -> Self {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, site: server.issuer(), cookie: None }
    }

    /// The same browser once more: with the cookie as it is now.
    pub(super) fn copy(&self) -> Self {
        Self { http: self.http.clone(), site: self.site.clone(), cookie: self.cookie.clone() }
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.site));
        self.send(request).await
    }

    /// Posts fields as they are.
    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.site)).header(CONTENT_TYPE, FORM).body(form(fields));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Fills in the form of a page that posts to `action`, and sends it as a browser does.
    pub(super) async fn submit(&mut self, page: &Answer, action: &str, fields: &[(&str, &str)]) -> Answer {
        let hidden = hidden_fields(&page.body, action);
        // A script fills some of them in.
        let is_filled = |name: &str| fields.iter().any(|(filled, _)| *filled == name);
        let mut all: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (&**name, &**value)).collect();
        all.retain(|(name, _)| !is_filled(name));
        all.extend(fields);
        let site = self.site.clone();
        self.post(action, &all, &[("origin", &site), ("sec-fetch-site", "same-origin")]).await
    }

    /// Asks for the sign-in page and fills it in.
    pub(super) async fn try_sign_in(&mut self, name: &str, password: &str, code: &str) -> Answer {
        let page = self.get("/login").await.ok();
        self.submit(&page, "/login", &[("username", name), ("password", password), ("otp", code)]).await
    }

    /// The same, which must succeed; gives the account's page.
    pub(super) async fn sign_in(&mut self, user: &TestUser, code: &str) -> Answer {
        let answer = self.try_sign_in(&user.name, PASSWORD, code).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/account")), "{}", answer.body);
        self.get("/account").await.ok()
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Answer {
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = Answer::read(request.send().await.unwrap()).await.unwrap();
        if let Some(set) = answer.headers.get(SET_COOKIE) {
            let set = set.to_str().unwrap();
            self.cookie = Some(set.split(';').next().unwrap().to_owned()).filter(|_| !set.contains("Max-Age=0"));
        }
        answer
    }
}

/// The hidden fields of the form with this action.
fn hidden_fields(html: &str, action: &str) -> Vec<(String, String)> {
    let begin = html.find(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form for {action}: {html}"));
    let form = html[begin..].split("</form>").next().unwrap();
    let hidden = form.split("<input type=\"hidden\" ").skip(1).map(|input| input.split('>').next().unwrap());
    hidden.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect()
}

fn attribute(tag: &str, name: &str) -> String {
    let begin = tag.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    tag[begin..].split('"').next().unwrap().to_owned()
}
