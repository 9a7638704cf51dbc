//! Images: importing and deleting.

use acp_base::{Change, Code, Failure, Name, Uid};
use acp_core_storeplan::{Source, check_sha256};
use acp_io_daemon::{Call, new_uid};
use acp_io_failpoint::point;
use acp_wire_api::{
    Empty,
    cluster::{Delete, DeleteRequest},
    jobs::Started,
    storage::{DeleteImage, ImportImage},
    worker::{FileRequest, Remove},
};
use acp_wire_model::Kind;

use crate::{
    api::{Api, image_file},
    jobs::{self, ImportDetail},
};

/// The pool of images that name none.
const POOL_DEFAULT: &str = "default";

/// The longest description of a source.
const SOURCE_CHARS_MAX: usize = 512;

/// Starts the import of an image.
pub(crate) async fn import(api: Api, call: Call<ImportImage>) -> Result<Started, Failure> {
    let request = call.request;
    let invalid = |error: acp_core_storeplan::SourceError| Failure::invalid(error.to_string());
    let url = request.url.as_deref().map(Source::parse).transpose().map_err(invalid)?;
    let sha256 = request.sha256.as_deref().map(check_sha256).transpose().map_err(invalid)?;
    match (&url, call.fds.len()) {
        (Some(_), 0) | (None, 1) => {}
        _ => {
            return Err(Failure::invalid(
                "an image comes from `url` or from exactly one file descriptor with the call",
            ));
        }
    }
    let source = request.source.unwrap_or_else(|| url.as_ref().map(Source::to_string).unwrap_or_default());
    if source.chars().count() > SOURCE_CHARS_MAX || source.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "source: at most {SOURCE_CHARS_MAX} characters and no control characters"
        )));
    }
    let pool = request.pool.unwrap_or_else(|| POOL_DEFAULT.parse().expect("a valid name"));
    api.ready_pool(&pool).await?;
    if api.find(Kind::Image, &request.name).await?.is_some() {
        let text = format!("there is an image {} already: delete it first, or choose another name", request.name);
        return Err(Failure::new(Code::AlreadyExists, text));
    }
    let url = url.map(|url| url.secret().to_owned());
    let detail = ImportDetail { name: request.name, pool, uid: new_uid(), url, source, sha256, done: None };
    jobs::start_import(&api, detail, call.fds)
}

/// Removes an image that nothing depends on: first its object, which the cluster refuses while a spec names it, then its
/// file. A record makes sure that the file goes even if this daemon ends in between.
pub(crate) async fn delete(api: Api, call: Call<DeleteImage>) -> Result<Empty, Failure> {
    let name = call.request.name;
    let (uid, spec) = api.image(&name).await?;
    let pool = api.fresh_pool(&spec.pool).await?;
    check_unused(&name, &spec.pool, &pool.above_image(uid))?;
    if let Err(error) = api.records.plan_removal(uid, &spec.pool) {
        // It may stand all the same.
        api.records.forget_removal(uid);
        let text = format!("cannot record the removal of image {name} in the state directory: {error}");
        return Err(Failure::unavailable(text));
    }
    if let Err(failure) = api.cluster().call::<Delete>(DeleteRequest { kind: Kind::Image, uid }).await {
        if failure.changed == Change::None {
            api.records.forget_removal(uid);
            return Err(failure);
        }
        // That it is gone is certain; that it is there is not, because what is read may be older than what was ordered. Then it
        // is looked for again and again, and the file goes when the object has gone.
        if !matches!(api.find_uid(Kind::Image, uid).await, Ok(None)) {
            return Err(failure);
        }
    }
    let removed = api.heed(&spec.pool, remove_file(&api, &spec.pool, uid).await);
    match removed {
        Ok(()) => api.records.forget_removal(uid),
        Err(failure) => {
            tracing::warn!(image = %name, reason = %failure, "the file of a deleted image is removed later");
        }
    }
    api.changed(&spec.pool).await;
    Ok(Empty {})
}

async fn remove_file(api: &Api, pool: &Name, image: Uid) -> Result<(), Failure> {
    point("storage.image-delete.undeclared")?;
    api.worker(pool).call::<Remove>(FileRequest { file: image_file(image) }).await?;
    Ok(point("storage.image-delete.removed")?)
}

fn check_unused(image: &Name, pool: &Name, above: &[String]) -> Result<(), Failure> {
    if above.is_empty() {
        return Ok(());
    }
    let volumes: Vec<_> = above.iter().map(|volume| format!("{pool}/{volume}")).collect();
    let text = format!(
        "the image {image} is the base of {}: delete {} first",
        volumes.join(", "),
        if above.len() == 1 { "it" } else { "them" }
    );
    Err(Failure::precondition(text))
}
