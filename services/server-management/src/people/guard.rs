//! Authorisation, denying by default: a handler can be mounted only as an [`Endpoint`], and an endpoint cannot be made
//! without saying who may use it. Nothing of a request is parsed before it is known that its sender may.

use std::{
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    time::Instant,
};

use actix_web::{
    FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, Responder, Route, dev::Payload,
    guard::Method as MethodGuard, http::Method, web,
};
use chassis::{Problem, http::bearer};
use fleet::{Millis, Scope, id::SessionId};
use registry::{Actor, OpenSession, User, Who};

use crate::{
    app::App,
    http::{
        client,
        failure::{Failure, elevation_required, insufficient_scope, session_required},
        instruments, query,
        secret::digest,
        unchanged,
    },
    people::access_tokens::TokenKey,
};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody; the handler itself looks at a token or password in the body, or has nothing to hide.
    Public,
    /// Whoever is logged in. An API token is not enough: it must not make, change or end what it is a part of.
    LoggedIn,
    /// Whoever is logged in and gave their password again within the last five minutes: what outlives a session is not
    /// made by who found one open, or stole it.
    Elevated,
    /// Whoever is logged in, or has an API token, with this scope.
    Needs(Scope),
    /// Whoever is logged in, gave their password again within the last five minutes, and has one of these scopes: it acts on
    /// hosts. The handler looks which of them it takes.
    Acts(&'static [Scope]),
}

/// A path and its methods.
pub(crate) type Resource = (&'static str, Vec<Endpoint>);

/// A method of a resource.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) route: Route,
    /// Whether it is a `GET` of a list, which nobody is sent who has it.
    pub(crate) lists: bool,
}

/// Who makes a request; behind all but [`Access::Public`].
#[derive(Clone)]
pub(crate) struct Caller(Rc<Proved>);

/// What a bearer token proved.
pub(crate) struct Proved {
    /// The scopes are those in force: of an API token, what it and the role of its maker have in common.
    pub(crate) user: User,
    /// `None` with an API token.
    pub(crate) session: Option<SessionId>,
    /// Until when the password counts as given just now, in Unix ms.
    elevated_until: Option<Millis>,
    pub(crate) actor: Actor,
}

/// Who makes a request, as the audit log names them; behind the same as [`Caller`].
pub(crate) struct By(pub(crate) Actor);

/// The session in which a request was made; only behind [`Access::LoggedIn`], [`Access::Elevated`] and [`Access::Acts`].
#[derive(Clone, Copy)]
pub(crate) struct Session(pub(crate) SessionId);

/// How API tokens begin, so that people and scanners of source code recognise one.
pub(crate) const API_TOKEN_PREFIX: &str = "rct_";

pub(crate) fn get<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::GET, access, handler, false)
}

/// A `GET` of several things: with the weak `ETag` of its body, and 304 for whoever has that.
pub(crate) fn list<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::GET, access, handler, true)
}

pub(crate) fn post<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::POST, access, handler, false)
}

pub(crate) fn delete<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::DELETE, access, handler, false)
}

pub(crate) fn patch<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::PATCH, access, handler, false)
}

/// What is of the handler's own type is compiled for each handler, so it is no more than must be.
fn endpoint<F, Args>(method: Method, access: Access, handler: F, lists: bool) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    let admitted =
        move |request, payload| -> Answering { Box::pin(handle(handler.clone(), request, payload)) };
    Endpoint { route: route(&method, access, Rc::new(admitted), lists), method, lists }
}

async fn handle<F, Args>(handler: F, request: HttpRequest, mut payload: Payload) -> HttpResponse
where
    F: Handler<Args>,
    F::Output: Responder,
    Args: FromRequest,
{
    match Args::from_request(&request, &mut payload).await {
        Ok(args) => match query::refuse_unread(&request) {
            Ok(()) => handler.call(args).await.respond_to(&request).map_into_boxed_body(),
            Err(problem) => HttpResponse::from_error(Failure::from(problem)),
        },
        Err(error) => HttpResponse::from_error(error),
    }
}

/// The answer to a request that may be made.
type Answering = Pin<Box<dyn Future<Output = HttpResponse>>>;

fn route(
    method: &Method,
    access: Access,
    admitted: Rc<dyn Fn(HttpRequest, Payload) -> Answering>,
    lists: bool,
) -> Route {
    let guarded = move |request: HttpRequest, payload: web::Payload| {
        let admitted = Rc::clone(&admitted);
        async move {
            let begun = Instant::now();
            let response = match admit(access, &request).await {
                Ok(()) => admitted(request.clone(), payload.into_inner()).await,
                Err(failure) => HttpResponse::from_error(failure),
            };
            let response = if lists { unchanged::answer(&request, response) } else { response };
            instruments::answered(&request, &response, begun.elapsed());
            response
        }
    };
    web::route().guard(MethodGuard(method.clone())).to(guarded)
}

async fn admit(access: Access, request: &HttpRequest) -> Result<(), Failure> {
    let app = request.app_data::<web::Data<App>>().ok_or_else(Problem::internal)?;
    client::notice_a_missing_proxy(request, app.settings.proxies);
    app.arrived(|awaited| &awaited.registry)?;
    authorise(app, access, request).await
}

/// Reads the user anew, so that a disabled user, a lost scope, an ended session or a deleted token counts at once.
async fn authorise(app: &App, access: Access, request: &HttpRequest) -> Result<(), Failure> {
    let (scopes, session) = match &access {
        Access::Public => return Ok(()),
        Access::LoggedIn | Access::Elevated => ([].as_slice(), true),
        Access::Needs(scope) => (std::slice::from_ref(scope), false),
        Access::Acts(scopes) => (*scopes, true),
    };
    let token = bearer(request).ok_or_else(Problem::unauthorized)?;
    let proved = match token.starts_with(API_TOKEN_PREFIX) {
        true => by_api_token(app, token, request).await?,
        false => by_session(app, token, request).await?,
    };
    let proved = proved.ok_or_else(Problem::unauthorized)?;
    if session && proved.session.is_none() {
        return Err(session_required().into());
    }
    if let [scope, ..] = scopes
        && !scopes.iter().any(|scope| proved.user.scopes.contains(scope))
    {
        return Err(insufficient_scope(*scope).into());
    }
    if matches!(access, Access::Elevated | Access::Acts(_)) && !proved.is_elevated(app.clock.now()) {
        return Err(elevation_required().into());
    }
    request.extensions_mut().insert(Caller(Rc::new(proved)));
    Ok(())
}

async fn by_session(app: &App, token: &str, request: &HttpRequest) -> Result<Option<Proved>, Failure> {
    let key = request.app_data::<web::Data<TokenKey>>().ok_or_else(Problem::internal)?;
    let Some(access_token) = key.verify(token, app.clock.now()) else { return Ok(None) };
    let open = app.registry.open_session(access_token.session).await?;
    let open = open.filter(|open| open.user.id == access_token.user && !open.user.disabled);
    Ok(open.map(|OpenSession { user, elevated_until }| {
        let actor = actor(Who::User(user.id), &user, request);
        Proved { user, session: Some(access_token.session), elevated_until, actor }
    }))
}

async fn by_api_token(app: &App, token: &str, request: &HttpRequest) -> Result<Option<Proved>, Failure> {
    let found = app.registry.api_token_user(digest(token), app.clock.now()).await?;
    Ok(found.map(|(token, user)| {
        let actor = actor(Who::Token(token), &user, request);
        Proved { user, session: None, elevated_until: None, actor }
    }))
}

fn actor(who: Who, user: &User, request: &HttpRequest) -> Actor {
    Actor { who, name: Some(user.username.clone()), address: client::exact(request) }
}

impl Proved {
    /// Whether the password was given again just now.
    pub(crate) fn is_elevated(&self, now: Millis) -> bool {
        self.elevated_until.is_some_and(|until| until > now)
    }
}

impl std::ops::Deref for Caller {
    type Target = Proved;

    fn deref(&self) -> &Proved {
        &self.0
    }
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().ok_or_else(|| Problem::unauthorized().into()))
    }
}

impl FromRequest for By {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().map(|caller| caller.actor.clone());
        ready(caller.map(Self).ok_or_else(|| Problem::unauthorized().into()))
    }
}

impl FromRequest for Session {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let session = request.extensions().get::<Caller>().and_then(|caller| caller.session);
        ready(session.map(Self).ok_or_else(|| Problem::unauthorized().into()))
    }
}
