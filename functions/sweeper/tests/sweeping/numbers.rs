//! Phone numbers whose purchase or release was cut short.

use switchboard_model::{ids::PhoneNumberId, phone_numbers::PhoneNumber};

use crate::world::{World, ago};

/// A number whose purchase began this many seconds ago.
fn coming(last: u32, seconds: i64) -> PhoneNumber {
    let (account, _) = World::ids(0);
    let number = format!("+1415555{last:04}").parse().unwrap();
    PhoneNumber::coming(PhoneNumberId::new(ago(seconds), last.into()), account, number, None, ago(seconds))
}

#[tokio::test]
async fn an_incomplete_purchase_or_release_is_undone_at_the_carrier() {
    let world = World::new().await;
    let sid = |n: u32| format!("PN{n:032}");
    let (bought, not_sold, taken) = (coming(200, 130), coming(201, 130), coming(202, 130));
    let released = coming(203, 3_000).arrived(sid(3)).leaving(ago(130));
    let (young, owned) = (coming(204, 60), coming(205, 3_000).arrived(sid(5)));
    let numbers = [&bought, &not_sold, &taken, &released, &young, &owned];
    for number in numbers {
        world.sweeper.backend.table.add_phone_number(number).await.unwrap();
    }
    for (n, number, name) in [
        (1, &bought, bought.friendly_name()),
        (2, &taken, "bought by somebody else".to_owned()),
        (3, &released, released.friendly_name()),
        (4, &young, young.friendly_name()),
        (5, &owned, owned.friendly_name()),
    ] {
        world.carrier().numbers.insert(sid(n), (number.phone_number.to_string(), name));
    }
    assert_eq!(world.sweep().await.cleared, 4);
    let kept: Vec<_> = world.carrier().numbers.keys().cloned().collect();
    assert_eq!(kept, [sid(2), sid(4), sid(5)]);
    for number in numbers {
        let stored =
            world.sweeper.backend.table.phone_number(number.account_id, &number.phone_number).await.unwrap();
        let stays = [&young, &owned].contains(&number);
        assert_eq!(stored.as_ref(), stays.then_some(number));
    }
    assert_eq!(world.sweep().await.cleared, 0);
}

#[tokio::test]
async fn a_pooled_number_whose_purchase_was_cut_short_returns_to_the_pool() {
    let world = World::new().await;
    let sid = format!("PN{:032}", 1);
    let number = coming(200, 130).from_pool(sid.clone());
    world.sweeper.backend.table.add_phone_number(&number).await.unwrap();
    let at_carrier = (number.phone_number.to_string(), "of its first account".to_owned());
    world.carrier().numbers.insert(sid.clone(), at_carrier);
    assert_eq!(world.sweep().await.cleared, 1);
    assert!(world.carrier().numbers.contains_key(&sid), "it is not released");
    let pooled = world.sweeper.backend.table.pooled_numbers().await.unwrap();
    assert_eq!(pooled.iter().map(|number| &number.sid).collect::<Vec<_>>(), [&sid]);
}

#[tokio::test]
async fn a_number_is_postponed_while_the_carrier_is_silent() {
    let world = World::new().await;
    let number = coming(200, 130);
    world.sweeper.backend.table.add_phone_number(&number).await.unwrap();
    world.carrier().away = true;
    assert_eq!(world.sweep().await.cleared, 0);
    world.carrier().away = false;
    assert_eq!(world.sweep().await.cleared, 0, "it is put off for a while");
    let stored =
        world.sweeper.backend.table.phone_number(number.account_id, &number.phone_number).await.unwrap();
    assert!(stored.unwrap().is_leaving(), "nobody gets it any more");
}
