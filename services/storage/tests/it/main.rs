//! The storage service inside one process: real directories, real `qemu-img`, `curl` and QEMU, fake peers.

mod attacks;
mod daemon;
mod download;
mod fakes;
mod images;
mod rig;
mod space;
mod volumes;
