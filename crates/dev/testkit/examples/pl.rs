fn main() {
    let a: Vec<String> = std::env::args().collect();
    let r = acp_dev_testkit::power_loss::power_loss(
        a[1].as_ref(),
        a[2].as_ref(),
        a[3].as_ref(),
        a[4].parse().unwrap(),
        a[5].parse().unwrap(),
    );
    println!("{r:?}");
}
