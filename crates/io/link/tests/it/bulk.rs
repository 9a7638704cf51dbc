//! Raw streams.

use acp_base::{Code, Failure};
use acp_io_link::{Class, LinkError, Opening, accept_bulk, open_bulk};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Cluster, LIMIT, to};

async fn exchange(decide: Result<(), Failure>) -> (Result<(), LinkError>, Result<Opening, LinkError>, Vec<u8>) {
    let cluster = Cluster::new(1);
    let (target, caller) = (cluster.node(1).await, cluster.node(2).await);
    let taking = async {
        let mut accepted = target.admit().await.expect("admitted");
        assert_eq!(accepted.class, Class::Bulk);
        let taken = accept_bulk(&mut accepted.stream, LIMIT, async |opening| decide.map(|()| opening)).await;
        let mut bytes = Vec::new();
        // A refused caller goes away without a farewell.
        drop(accepted.stream.read_to_end(&mut bytes).await);
        (taken, bytes)
    };
    let giving = async {
        let mut stream = caller.dialer().dial(target.address, target.uid, Class::Bulk).await.expect("dialled");
        open_bulk(&mut stream, &to("disk"), LIMIT).await?;
        stream.write_all(b"raw bytes").await.expect("sent");
        stream.shutdown().await.expect("ended");
        Ok(())
    };
    let ((taken, bytes), given) = tokio::join!(taking, giving);
    (given, taken, bytes)
}

#[tokio::test]
async fn a_bulk_stream_is_raw_after_its_opening() {
    let (given, taken, bytes) = exchange(Ok(())).await;
    given.expect("agreed");
    assert_eq!(taken.expect("agreed"), to("disk"));
    assert_eq!(bytes, b"raw bytes");
}

#[tokio::test]
async fn a_bulk_stream_that_is_turned_away_says_why() {
    let (given, taken, bytes) = exchange(Err(Failure::precondition("the disk is in use"))).await;
    let failure = given.expect_err("denied").failure("n1");
    assert_eq!((failure.code, failure.message.as_str()), (Code::FailedPrecondition, "the disk is in use"));
    assert!(matches!(taken, Err(LinkError::Denied(_))) && bytes.is_empty());
}
