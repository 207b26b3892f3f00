internal import Glibc

/// An IPv4 or IPv6 address as 128 bits. An IPv4 address is held in its mapped form (`::ffff:0:0/96`), so that
/// `192.0.2.1` and `::ffff:192.0.2.1` are the same value.
package struct IPAddress: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// `bits` in host order: 192.0.2.1 is 0xC0000201.
    package init(ipv4 bits: UInt32) { self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(bits)) }

    /// The numeric forms that `inet_pton` reads; nil for anything else, host names included.
    package init?(_ text: some StringProtocol) {
        let text = String(text)
        var v4: UInt32 = 0
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(ipv4: UInt32(bigEndian: v4))
            return
        }
        var v6: (UInt64, UInt64) = (0, 0)
        guard inet_pton(AF_INET6, text, &v6) == 1 else { return nil }
        self.init(high: UInt64(bigEndian: v6.0), low: UInt64(bigEndian: v6.1))
    }

    package var isIPv4: Bool { self.high == 0 && self.low >> 32 == 0xFFFF }
}

extension IPAddress: CustomStringConvertible {
    /// The canonical numeric form, IPv4 without its mapping.
    package var description: String {
        if self.isIPv4 { return Self.dotted(UInt32(truncatingIfNeeded: self.low)) }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        var halves = (self.high.bigEndian, self.low.bigEndian)
        inet_ntop(AF_INET6, &halves, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Written here because each bootstrap needs it, and the C library's prints through a format: 2 us.
    private static func dotted(_ bits: UInt32) -> String {
        String(unsafeUninitializedCapacity: 15) { text in
            var count = 0
            func put(_ character: UInt8) {
                text[count] = character
                count += 1
            }
            for shift in stride(from: 24, through: 0, by: -8) {
                let byte = UInt8(truncatingIfNeeded: bits >> UInt32(shift))
                if byte >= 100 { put(UInt8(ascii: "0") + byte / 100) }
                if byte >= 10 { put(UInt8(ascii: "0") + byte / 10 % 10) }
                put(UInt8(ascii: "0") + byte % 10)
                if shift > 0 { put(UInt8(ascii: ".")) }
            }
            return count
        }
    }
}

/// A range of addresses that share their first bits, as SIM records name the sources of plain arrivals.
package struct IPPrefix: Hashable, Sendable {
    /// The first address of the range: bits past `length` are zero.
    package let base: IPAddress
    /// 0 to 128, counted in the 128-bit form: an IPv4 `/24` is 120 here.
    package let length: Int

    /// Bits of `address` past `length` are cleared.
    package init(_ address: IPAddress, length: Int) {
        precondition((0...128).contains(length))
        self.length = length
        self.base = IPAddress(
            high: address.high & Self.mask(length),
            low: address.low & Self.mask(length - 64)
        )
    }

    /// `ADDRESS` or `ADDRESS/LENGTH`, the length counted in the family of the address as written.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ IPAddress($0) }) else { return nil }
        let bits = address.isIPv4 && !parts[0].contains(":") ? 32 : 128
        var length = bits
        if parts.count == 2 {
            guard let given = Int(parts[1]), (0...bits).contains(given), parts[1].allSatisfy(\.isNumber) else {
                return nil
            }
            length = given
        }
        self.init(address, length: length + 128 - bits)
    }

    package func contains(_ address: IPAddress) -> Bool {
        address.high & Self.mask(self.length) == self.base.high
            && address.low & Self.mask(self.length - 64) == self.base.low
    }

    private static func mask(_ length: Int) -> UInt64 {
        length <= 0 ? 0 : length >= 64 ? .max : ~(.max >> UInt64(length))
    }
}

extension IPPrefix: CustomStringConvertible {
    package var description: String {
        if self.base.isIPv4 && self.length >= 96 {
            return self.length == 128 ? "\(self.base)" : "\(self.base)/\(self.length - 96)"
        }
        return self.length == 128 ? "\(self.base)" : "\(self.base)/\(self.length)"
    }
}
