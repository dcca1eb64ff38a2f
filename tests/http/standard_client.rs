//! The widespread client library, unchanged, against the server: what interoperates needs no client of our own.

use std::time::Duration;

use openidconnect::core::{CoreClient, CoreJsonWebKeySet, CoreRevocableToken};
use openidconnect::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, IssuerUrl, JsonWebKeySetUrl,
    OAuth2TokenResponse as _, RequestTokenError, ResourceOwnerPassword, ResourceOwnerUsername, RevocationUrl, Scope,
    TokenIntrospectionResponse as _, TokenUrl,
};

use super::Stage;
use crate::support::application::PASSWORD;

/// The library asks its user for the way to the network.
async fn exchange(request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.execute(request.try_into()?).await?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = answer.bytes().await?.to_vec();
    Ok(response)
}

#[tokio::test]
async fn openidconnect_gets_refreshes_introspects_and_revokes_tokens() {
    let stage = Stage::shared();
    let metadata = stage.get("/.well-known/oauth-authorization-server").await.ok();
    let issuer = IssuerUrl::new(metadata.text("issuer")).unwrap();
    let keys = JsonWebKeySetUrl::new(metadata.text("jwks_uri")).unwrap();
    let keys = CoreJsonWebKeySet::fetch_async(&keys, &exchange).await.unwrap();
    assert_eq!(keys.keys().len(), 1);
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = CoreClient::new(ClientId::new(stage.app.id.clone()), issuer.clone(), keys.clone())
            .set_client_secret(ClientSecret::new(stage.app.secret.clone()))
            .set_auth_type(auth_type.clone())
            .set_token_uri(TokenUrl::new(metadata.text("token_endpoint")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(metadata.text("introspection_endpoint")).unwrap())
            .set_revocation_url(RevocationUrl::new(metadata.text("revocation_endpoint")).unwrap());
        let own = client.exchange_client_credentials().add_scope(Scope::new("read".into()));
        let own = own.request_async(&exchange).await.unwrap();
        assert_eq!(own.expires_in(), Some(Duration::from_secs(300)));
        assert_eq!(own.scopes(), Some(&vec![Scope::new("read".into())]));
        assert!(client.introspect(own.access_token()).request_async(&exchange).await.unwrap().active());

        let (user, totp) = stage.person(&format!("oidc-{auth_type:?}"));
        let (name, password) =
            (ResourceOwnerUsername::new(user.name.clone()), ResourceOwnerPassword::new(PASSWORD.into()));
        let asked = |code| client.exchange_password(&name, &password).add_extra_param("otp", code);
        let refused = asked(totp.wrong()).request_async(&exchange).await;
        assert!(matches!(refused, Err(RequestTokenError::ServerResponse(_))), "the library reads the error");
        let first = asked(totp.code()).request_async(&exchange).await.unwrap();
        let second = client.exchange_refresh_token(first.refresh_token().unwrap());
        let second = second.request_async(&exchange).await.unwrap();
        let told = client.introspect(second.access_token()).request_async(&exchange).await.unwrap();
        assert_eq!((told.active(), told.username()), (true, Some(user.name.as_str())));

        let revoked = CoreRevocableToken::RefreshToken(second.refresh_token().unwrap().clone());
        // The library sends revocations to https addresses alone, so that this one goes over the wire by hand.
        if let Ok(request) = client.revoke_token(revoked) {
            request.request_async(&exchange).await.unwrap();
        } else {
            stage.revoke(&stage.app, second.refresh_token().unwrap().secret()).await.ok();
        }
        assert!(!client.introspect(second.access_token()).request_async(&exchange).await.unwrap().active());
    }
}
