//! Which networks there are: one inside each organisation, and the internet. Nothing goes from one to another but
//! through a machine that has an address in both.

use std::net::{IpAddr, Ipv4Addr};

use node::Side;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Inside the organisation of this number. Worlds of one organisation have number 0 alone.
    Inside(u8),
    /// Between organisations.
    Internet,
}

impl Network {
    /// The network that an address lies in.
    pub fn of(address: IpAddr) -> Network {
        match address {
            IpAddr::V4(v4) if v4.octets()[0] == 10 => Network::Inside(v4.octets()[2]),
            IpAddr::V4(_) | IpAddr::V6(_) => Network::Internet,
        }
    }

    /// How a machine with an address in it sees it.
    pub fn side(self) -> Side {
        match self {
            Network::Inside(_) => Side::Inside,
            Network::Internet => Side::Outside,
        }
    }

    /// The address of the machine of this number.
    pub fn machine(self, index: usize) -> IpAddr {
        let host = u8::try_from(index + 1).expect("few machines");
        IpAddr::V4(match self {
            Network::Inside(number) => Ipv4Addr::new(10, 0, number, host),
            Network::Internet => Ipv4Addr::new(198, 51, 100, host),
        })
    }

    /// The address of the device of this number.
    pub fn device(self, index: usize) -> IpAddr {
        let host = u8::try_from(index + 1).expect("few devices");
        IpAddr::V4(match self {
            Network::Inside(number) => Ipv4Addr::new(10, 1, number, host),
            Network::Internet => Ipv4Addr::new(203, 0, 113, host),
        })
    }
}
