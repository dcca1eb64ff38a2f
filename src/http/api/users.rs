//! `/api/v1/users`: people who sign in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused, factors, notes};
use signet_admin_api::users::{
    FailedSignIns, Grant, NewPassword, NewUser, Session, Unlocked, User, UserChange, UserFailures, UserQuery,
    WaitingRoles,
};
use signet_admin_api::{Page, PageQuery};
use signet_core::mfa::lockout::{Locked, Noticed, NoticedOf};
use signet_core::oauth::scope;
use signet_store::{GrantId, ListedGrant, RoleRequest, UserEdit, UserId};

/// A user as the API shows it.
fn view(user: &signet_store::User) -> User {
    User {
        id: user.id.to_string(),
        name: user.name.clone(),
        roles: user.roles.clone(),
        enabled: user.enabled,
        created_at: user.created_at.to_string(),
        factors: None,
        waiting: None,
        notes: Vec::new(),
    }
}

async fn shown(api: &ApiState, name: &str) -> Result<User, Refused> {
    let user = api.issuer().accounts.find_user(name).await?;
    let listed = api.issuer().factors.lifecycle.list_factors(name).await?;
    let waiting = api.issuer().role_approval.role_request(&user).await?.map(|request| waiting(None, request));
    Ok(User { factors: Some(listed.iter().map(factors::view).collect()), waiting, ..view(&user) })
}

fn waiting(user: Option<String>, request: RoleRequest) -> WaitingRoles {
    let RoleRequest { roles, requested_by, requested_at } = request;
    WaitingRoles { user, roles, requested_by, requested_at: requested_at.to_string() }
}

/// List users, by name
#[utoipa::path(get, path = "/users", tag = "users", operation_id = "listUsers", params(UserQuery),
    responses((status = 200, body = Page<User>), Faults))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Asked(asked): Asked<UserQuery>,
) -> Result<Json<Page<User>>, Refused> {
    let keep = |user: &signet_store::User| {
        asked.role.as_ref().is_none_or(|role| user.roles.contains(role))
            && asked.enabled.is_none_or(|enabled| user.enabled == enabled)
    };
    let accounts = &api.issuer().accounts;
    let read = |after: Option<String>, most| async move { accounts.users_after(after.as_deref(), most).await };
    page(asked.after.clone(), limit(asked.limit)?, read, |user| user.name.clone(), keep, view).await.map(Json)
}

/// Add a user, who can sign in once a factor is enrolled
#[utoipa::path(post, path = "/users", tag = "users", operation_id = "addUser", request_body = NewUser,
    responses((status = 201, body = User), Faults))]
pub(super) async fn add(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewUser>,
) -> Result<Created<User>, Refused> {
    let accounts = &api.issuer().accounts;
    let user = match (&new.password, new.declared) {
        (None, true) => accounts.declare_user(&new.name, new.roles, &caller).await?,
        (Some(password), false) => accounts.add_user(&new.name, new.roles, password, &caller).await?,
        (None, false) => return Err(Refused::input("the body does not fit: missing field `password`")),
        (Some(_), true) => return Err(Refused::input("a user who is declared has no `password` yet")),
    };
    let notes = notes::on_roles(&user.roles, &api.issuer().settings.current().role_scopes);
    let waiting = api.issuer().role_approval.role_request(&user).await?.map(|request| waiting(None, request));
    Ok(Created(User { notes, waiting, ..view(&user) }))
}

/// Show a user with the user's factors
#[utoipa::path(get, path = "/users/{name}", tag = "users", operation_id = "showUser",
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = User), Faults))]
pub(super) async fn show(State(api): State<ApiState>, Named(name): Named<String>) -> Result<Json<User>, Refused> {
    shown(&api, &name).await.map(Json)
}

/// Change a user's roles, or whether the user may sign in
///
/// Under the four-eyes rule roles that grant scopes of the deployment wait for another person; what waits and is not named is taken back.
#[utoipa::path(patch, path = "/users/{name}", tag = "users", operation_id = "changeUser", request_body = UserChange,
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = User), Faults))]
pub(super) async fn change(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(change): Body<UserChange>,
) -> Result<Json<User>, Refused> {
    let roles = change.roles.iter();
    let notes = roles.flat_map(|roles| notes::on_roles(roles, &api.issuer().settings.current().role_scopes)).collect();
    let edit = UserEdit { roles: change.roles, enabled: change.enabled, waiting: None };
    api.issuer().accounts.change_user(&name, edit, &caller).await?;
    Ok(Json(User { notes, ..shown(&api, &name).await? }))
}

/// List roles that wait for another person's approval, the oldest request first
#[utoipa::path(get, path = "/role-requests", tag = "users", operation_id = "listRoleRequests",
    responses((status = 200, body = Vec<WaitingRoles>), Faults))]
pub(super) async fn role_requests(State(api): State<ApiState>) -> Result<Json<Vec<WaitingRoles>>, Refused> {
    let requests = api.issuer().role_approval.role_requests().await?;
    Ok(Json(requests.into_iter().map(|(name, request)| waiting(Some(name), request)).collect()))
}

/// Approve roles that another person asked for; whoever approves an account's request stands for it, and one more must approve
#[utoipa::path(post, path = "/users/{name}/roles/approval", tag = "users", operation_id = "approveRoles",
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = User), Faults))]
pub(super) async fn approve_roles(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Json<User>, Refused> {
    api.issuer().role_approval.approve_roles(&name, &caller).await?;
    shown(&api, &name).await.map(Json)
}

/// Remove a user with all factors, sessions and refresh tokens
#[utoipa::path(delete, path = "/users/{name}", tag = "users", operation_id = "removeUser",
    params(("name" = String, Path, description = "The user's name")), responses((status = 204), Faults))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().accounts.remove_user(&name, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a user's password; sessions and refresh tokens end
#[utoipa::path(put, path = "/users/{name}/password", tag = "users", operation_id = "setPassword", request_body = NewPassword,
    params(("name" = String, Path, description = "The user's name")), responses((status = 204), Faults))]
pub(super) async fn set_password(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(new): Body<NewPassword>,
) -> Result<StatusCode, Refused> {
    api.issuer().accounts.set_password(&name, &new.password, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a user all tries at signing in again
#[utoipa::path(post, path = "/users/{name}/unlock", tag = "users", operation_id = "unlockUser",
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = Unlocked), Faults))]
pub(super) async fn unlock(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Json<Unlocked>, Refused> {
    let had_tries_counted = api.issuer().accounts.unlock_user(&name, &caller).await?;
    Ok(Json(Unlocked { had_tries_counted }))
}

/// List sign-ins that failed and that nobody has answered for, by user
#[utoipa::path(get, path = "/failed-sign-ins", tag = "users", operation_id = "listFailedSignIns", params(PageQuery),
    responses((status = 200, body = Page<UserFailures>), Faults))]
pub(super) async fn failed_sign_ins(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<UserFailures>>, Refused> {
    let accounts = &api.issuer().accounts;
    let read =
        |after: Option<String>, most| async move { accounts.failures(after.map(UserId::new).as_ref(), most).await };
    let place = |(id, ..): &(UserId, String, Vec<Noticed>)| id.to_string();
    page(asked.after.clone(), limit(asked.limit)?, read, place, |_| true, failures_of).await.map(Json)
}

fn failures_of((_, user, noticed): &(UserId, String, Vec<Noticed>)) -> UserFailures {
    UserFailures { user: user.clone(), failures: noticed.iter().map(|of| failed(user, of)).collect() }
}

fn failed(user: &str, noticed: &Noticed) -> FailedSignIns {
    let (wrong, factor) = match &noticed.of {
        NoticedOf::Codes => ("codes", None),
        NoticedOf::Passwords(factor) => ("passwords", Some(factor.to_string())),
    };
    FailedSignIns {
        user: user.to_owned(),
        wrong: wrong.to_owned(),
        factor,
        failures: noticed.failures,
        first_at: noticed.first.to_string(),
        last_at: noticed.last.to_string(),
        is_locked: noticed.locked.is_some(),
        locked_until: match noticed.locked {
            Some(Locked::Until(until)) => Some(until.to_string()),
            Some(Locked::UntilAnswered) | None => None,
        },
    }
}

/// List the browsers in which a user is signed in, the newest first
#[utoipa::path(get, path = "/users/{name}/sessions", tag = "users", operation_id = "listSessions",
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = Vec<Session>), Faults))]
pub(super) async fn sessions(
    State(api): State<ApiState>,
    Named(name): Named<String>,
) -> Result<Json<Vec<Session>>, Refused> {
    let user = api.issuer().accounts.find_user(&name).await?;
    let sessions = api.issuer().sessions.sessions_of(&user.id).await?;
    Ok(Json(sessions.iter().map(session).collect()))
}

fn session(session: &signet_store::Session) -> Session {
    Session {
        id: session.id.to_string(),
        signed_in_at: session.auth_time.to_string(),
        last_used_at: session.last_seen_at.to_string(),
        ends_at: session.expires_at.to_string(),
        client_address: session.address.clone(),
        factors: session.factors.iter().map(ToString::to_string).collect(),
    }
}

/// End all that a user's credentials have led to: sessions, refresh tokens, sign-ins under way
#[utoipa::path(delete, path = "/users/{name}/sessions", tag = "users", operation_id = "signOutUser",
    params(("name" = String, Path, description = "The user's name")), responses((status = 204), Faults))]
pub(super) async fn sign_out(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<StatusCode, Refused> {
    let user = api.issuer().accounts.find_user(&name).await?;
    api.issuer().sessions.sign_out(&user.id, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End one session of a user
#[utoipa::path(delete, path = "/users/{name}/sessions/{id}", tag = "users", operation_id = "endSession",
    params(("name" = String, Path, description = "The user's name"), ("id" = String, Path, description = "The session's id")),
    responses((status = 204), Faults))]
pub(super) async fn end_session(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named((name, id)): Named<(String, String)>,
) -> Result<StatusCode, Refused> {
    let user = api.issuer().accounts.find_user(&name).await?;
    api.issuer().sessions.end_session_of(&user.id, &id, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn grant(listed: &ListedGrant) -> Grant {
    let ListedGrant { grant, client_name, last_used_at } = listed;
    Grant {
        id: grant.id.to_string(),
        client: client_name.clone().unwrap_or_else(|| grant.client.to_string()),
        scope: scope::join(&grant.scopes),
        began_at: grant.created_at.to_string(),
        last_used_at: last_used_at.map(|at| at.to_string()),
        ends_at: grant.expires_at.to_string(),
    }
}

/// List what apps may have of a user, the oldest first: each is a sign-in by one, with the tokens that come of it
#[utoipa::path(get, path = "/users/{name}/grants", tag = "users", operation_id = "listGrants",
    params(("name" = String, Path, description = "The user's name"), PageQuery), responses((status = 200, body = Page<Grant>), Faults))]
pub(super) async fn grants(
    State(api): State<ApiState>,
    Named(name): Named<String>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<Grant>>, Refused> {
    let (grants, name) = (&api.issuer().person_grants, &name);
    let read = |after: Option<String>, most| async move {
        grants.grants_after(name, after.map(GrantId::new).as_ref(), most).await
    };
    let cursor = |listed: &ListedGrant| listed.grant.id.to_string();
    page(asked.after, limit(asked.limit)?, read, cursor, |_| true, grant).await.map(Json)
}

/// End one grant: its refresh tokens get nothing any more, and introspection calls its access tokens ended
#[utoipa::path(delete, path = "/users/{name}/grants/{id}", tag = "users", operation_id = "endGrant",
    params(("name" = String, Path, description = "The user's name"), ("id" = String, Path, description = "The grant's id")),
    responses((status = 204), Faults))]
pub(super) async fn end_grant(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named((name, id)): Named<(String, String)>,
) -> Result<StatusCode, Refused> {
    api.issuer().person_grants.end_grant(&name, &GrantId::new(id), &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
