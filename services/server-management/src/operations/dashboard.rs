//! The files of the dashboard, and of the page that shows the interface: embedded at compile time, so that no working
//! directory can change them.

use actix_web::{
    HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    middleware::from_fn,
    web,
};
use chassis::Problem;

use crate::http::compression::compress;

/// What the page may do: run our own files and talk to us. Nothing inline, nothing foreign, in no one's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
                      data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Asked for anew each time, so that an upgrade is seen at once.
const FRESH: &str = "no-cache";
/// Its name has a hash of what is in it, so that it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Path, type and content of each file of the dashboard; `make web` writes the list with the files.
const DASHBOARD: &[(&str, &str, &str)] = &include!("../../../../web/dist/files.rs");

/// The same of the page that shows the interface.
const DOCS: [(&str, &str, &str); 3] = [
    ("/server-management/v1/docs", HTML, include_str!("../../../../web/docs/docs.html")),
    ("/server-management/v1/docs.js", SCRIPT, include_str!("../../../../web/docs/docs.js")),
    ("/server-management/v1/docs.css", STYLE, include_str!("../../../../web/docs/docs.css")),
];

fn files() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    DASHBOARD.iter().copied().chain(DOCS)
}

/// Mounts them.
pub(crate) fn mount(config: &mut web::ServiceConfig) {
    for (path, content_type, content) in files() {
        let kept = if path.starts_with("/assets/") { FOR_EVER } else { FRESH };
        let answer = move || async move {
            HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, content_type))
                .insert_header((CONTENT_SECURITY_POLICY, POLICY))
                .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .insert_header((REFERRER_POLICY, "no-referrer"))
                .insert_header((CACHE_CONTROL, kept))
                .body(content)
        };
        let file = web::resource(path).route(web::get().to(answer)).route(web::head().to(answer));
        config.service(file.default_service(web::to(refuse)).wrap(from_fn(compress)));
    }
}

async fn refuse() -> Result<HttpResponse, Problem> {
    Err(Problem::only("GET, HEAD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_asks_for_is_served() {
        for (path, _, content) in files() {
            let asked = content.split(['"', '\'', '`']).filter(|text| !text.contains(['$', ' ']));
            for asked in asked.filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
                // An ending alone is no file.
                let Some(name) = asked.rsplit('/').next().filter(|name| !name.starts_with('.')) else {
                    continue;
                };
                let served = files().any(|(served, ..)| served.rsplit('/').next() == Some(name));
                assert!(served, "{path} asks for {asked}");
            }
        }
    }

    #[test]
    fn what_is_kept_for_ever_has_a_hash_in_its_name() {
        for (path, ..) in DASHBOARD.iter().filter(|(path, ..)| path.starts_with("/assets/")) {
            let hash =
                path.rsplit_once('.').and_then(|(name, _)| name.rsplit_once('-')).map(|(_, hash)| hash);
            assert!(hash.is_some_and(|hash| hash.len() >= 8), "{path}");
        }
        assert!(DASHBOARD.iter().any(|(path, ..)| *path == "/"));
    }
}
