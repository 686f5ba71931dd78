//! Authorisation, denying by default: a handler can be mounted only as an [`Endpoint`], and an endpoint cannot be made
//! without saying who may use it. Nothing of a request is parsed before that is settled.

use std::{
    future::{Ready, ready},
    time::Instant,
};

use actix_web::{
    FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, Responder, Route,
    dev::Payload,
    guard::Method as MethodGuard,
    http::{Method, header::AUTHORIZATION},
    web,
};
use chassis::Problem;
use fleet::{Scope, id::SessionId};

use crate::{
    app::App,
    failure::{Failure, insufficient_scope},
    instruments, query,
};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody; the handler itself looks at a token or password in the body, or has nothing to hide.
    Public,
    /// Whoever is logged in.
    LoggedIn,
    /// Whoever is logged in with a role that has this scope.
    Needs(Scope),
}

/// A method of a resource.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) route: Route,
}

/// The session in which a request was made; only behind [`Access::LoggedIn`] and [`Access::Needs`].
#[derive(Clone, Copy)]
pub(crate) struct Session(pub(crate) SessionId);

pub(crate) fn get<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::GET, access, handler)
}

pub(crate) fn post<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::POST, access, handler)
}

pub(crate) fn delete<F, Args>(access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    endpoint(Method::DELETE, access, handler)
}

fn endpoint<F, Args>(method: Method, access: Access, handler: F) -> Endpoint
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    let guarded = move |request: HttpRequest, payload: web::Payload| {
        let handler = handler.clone();
        async move {
            let begun = Instant::now();
            let mut payload = payload.into_inner();
            let response = match admit(access, &request, &mut payload).await {
                Ok(args) => handler.call(args).await.respond_to(&request).map_into_boxed_body(),
                Err(error) => HttpResponse::from_error(error),
            };
            instruments::answered(&request, &response, begun.elapsed());
            response
        }
    };
    let route = web::route().guard(MethodGuard(method.clone())).to(guarded);
    Endpoint { method, route }
}

async fn admit<Args: FromRequest>(
    access: Access,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<Args, actix_web::Error> {
    let app = request.app_data::<web::Data<App>>().ok_or_else(|| Failure::from(Problem::internal()))?;
    app.arrived(|awaited| &awaited.registry)?;
    authorise(app, access, request).await?;
    let args = Args::from_request(request, payload).await.map_err(Into::into)?;
    query::refuse_unread(request).map_err(Failure::from)?;
    Ok(args)
}

/// Reads the user of the session anew, so that a disabled user, a lost scope or an ended session counts at once.
async fn authorise(app: &App, access: Access, request: &HttpRequest) -> Result<(), Failure> {
    let scope = match access {
        Access::Public => return Ok(()),
        Access::LoggedIn => None,
        Access::Needs(scope) => Some(scope),
    };
    let claimed = bearer(request).and_then(|token| app.settings.token_key.verify(token, app.clock.now()));
    let access_token = claimed.ok_or_else(Problem::unauthorized)?;
    let user = app.registry.session_user(access_token.session).await?;
    let user = user.filter(|user| user.id == access_token.user && !user.disabled);
    let user = user.ok_or_else(Problem::unauthorized)?;
    if let Some(scope) = scope.filter(|scope| !user.scopes.contains(scope)) {
        return Err(insufficient_scope(scope).into());
    }
    request.extensions_mut().insert(Session(access_token.session));
    Ok(())
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequest for Session {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get().copied().ok_or_else(|| Problem::unauthorized().into()))
    }
}
