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

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("../../../../web/index.html")),
    ("/app.js", SCRIPT, include_str!("../../../../web/app.js")),
    ("/api.js", SCRIPT, include_str!("../../../../web/api.js")),
    ("/show.js", SCRIPT, include_str!("../../../../web/show.js")),
    ("/style.css", STYLE, include_str!("../../../../web/style.css")),
    ("/server-management/v1/docs", HTML, include_str!("../../../../web/docs.html")),
    ("/server-management/v1/docs.js", SCRIPT, include_str!("../../../../web/docs.js")),
    ("/server-management/v1/docs.css", STYLE, include_str!("../../../../web/docs.css")),
];

/// Mounts them.
pub(crate) fn mount(config: &mut web::ServiceConfig) {
    for (path, content_type, content) in FILES {
        let answer = move || async move {
            HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, content_type))
                .insert_header((CONTENT_SECURITY_POLICY, POLICY))
                .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .insert_header((REFERRER_POLICY, "no-referrer"))
                .insert_header((CACHE_CONTROL, "no-cache"))
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
    fn the_page_puts_a_token_into_no_command() {
        let script = include_str!("../../../../web/app.js");
        assert!(script.contains("for (const id of ['token', 'asked-token']) at(id).textContent = token;"));
        assert!(!script.contains("${token}"));
    }

    #[test]
    fn the_page_knows_no_range_but_its_own() {
        assert!(!include_str!("../../../../web/app.js").contains("ranges[query.range] ?"));
    }

    #[test]
    fn every_file_that_the_page_asks_for_is_served() {
        for (path, _, content) in FILES {
            for asked in
                content.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"))
            {
                let asked = asked.trim_start_matches('.');
                assert!(FILES.iter().any(|(served, ..)| *served == asked), "{path} asks for {asked}");
            }
        }
    }
}
