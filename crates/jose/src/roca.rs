//! RSA keys whose private half can be computed: those that a flawed library of a chip's maker chose (ROCA, CVE-2017-15361;
//! Nemec et al., "The Return of Coppersmith's Attack", 2017). YubiKeys of firmware 4.2.6 to 4.3.4 and several TPMs made
//! such keys.
//!
//! Their moduli are powers of 65537 by each small prime; of other moduli one in 2^27 is.

const GENERATOR: u32 = 65537;
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a big-endian modulus is of that form.
pub(super) fn is_of_the_form(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |remainder, byte| (remainder * 256 + u32::from(*byte)) % prime);
        is_power(remainder, *prime)
    })
}

/// Whether a number is a power of the generator by a prime.
fn is_power(number: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == number {
            return true;
        }
        power = power * (GENERATOR % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::public_key::{KeyError, PublicKey};
    use super::*;

    /// A multiple of all the primes, plus `rest`: by each of them it is `rest`.
    fn modulus(bits: usize, rest: u8) -> Vec<u8> {
        // 2^5 times the primes' product fills 28 bytes.
        let mut number = vec![1 << 5];
        for prime in PRIMES {
            let mut carry = 0;
            for byte in number.iter_mut().rev() {
                let product = u32::from(*byte) * prime + carry;
                (*byte, carry) = (product.to_le_bytes()[0], product >> 8);
            }
            if carry > 0 {
                number.insert(0, carry.to_le_bytes()[0]);
            }
        }
        assert_eq!((number.len(), number[0] >> 7), (28, 1));
        number.resize(bits / 8, 0);
        number[bits / 8 - 1] |= rest;
        number
    }

    #[test]
    fn a_key_whose_private_half_can_be_computed_is_refused() {
        for bits in [2048, 4096] {
            // 1 is the generator's zeroth power; 3 is none of its powers by 11, which are 1 and 10.
            let (weak, sound) = (modulus(bits, 1), modulus(bits, 3));
            assert_eq!(PublicKey::from_rsa(&weak, &[1, 0, 1]), Err(KeyError::Weak));
            assert_eq!(PublicKey::from_rsa(&sound, &[1, 0, 1]).unwrap().bits(), bits);
        }
        let powers_by_11 = (0..11).filter(|number| is_power(*number, 11));
        assert_eq!(powers_by_11.collect::<Vec<_>>(), [1, 10]);
    }
}
