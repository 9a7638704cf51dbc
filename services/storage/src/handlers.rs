//! Which function answers which method of `acp.storage`.

use acp_io_daemon::Router;
use acp_wire_api::storage as wire;

use crate::{api::Api, images, pools, volumes};

pub(crate) fn routes(router: &mut Router, api: &Api) {
    let own = api.clone();
    router.once::<wire::CreatePool, _, _>(move |call| pools::create(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::CreateVolume, _, _>(move |call| volumes::create(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::CloneVolume, _, _>(move |call| volumes::clone(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::ExpandVolume, _, _>(move |call| volumes::expand(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::DeleteVolume, _, _>(move |call| volumes::delete(own.for_call(&call.context), call));
    let own = api.clone();
    router.once_fds::<wire::OpenVolume, _, _>(move |call| volumes::open(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::ImportImage, _, _>(move |call| images::import(own.for_call(&call.context), call));
    let own = api.clone();
    router.once::<wire::DeleteImage, _, _>(move |call| images::delete(own.for_call(&call.context), call));
}
