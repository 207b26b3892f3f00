import Glibc
import Testing

@testable import bootgate

@Suite("Texts of addresses")
struct AddressTextTests {
    private func text(_ family: Int32, _ address: [UInt8], room: Int) -> String? {
        var buffer = [CChar](repeating: 1, count: 64)
        guard inet_ntop(family, address, &buffer, socklen_t(room)) != nil else { return nil }
        return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    @Test("IPv4 is written in decimal digits without leading zeros")
    func decimal() {
        for byte in UInt8.min ... .max {
            let written = self.text(AF_INET, [byte, 0, 255 - byte, 10], room: Int(INET_ADDRSTRLEN))
            #expect(written == "\(byte).0.\(255 - byte).10")
        }
    }

    @Test("What is not IPv4, or does not fit, is the C library's")
    func others() {
        let loopback = [UInt8](repeating: 0, count: 15) + [1]
        #expect(self.text(AF_INET6, loopback, room: Int(INET6_ADDRSTRLEN)) == "::1")
        #expect(self.text(AF_INET6, loopback, room: 3) == nil)
        #expect(self.text(AF_INET, [10, 0, 0, 1], room: 9) == "10.0.0.1")
        #expect(self.text(AF_INET, [10, 0, 0, 1], room: 8) == nil)
        #expect(errno == ENOSPC)
        #expect(self.text(AF_UNIX, loopback, room: 64) == nil)
        #expect(errno == EAFNOSUPPORT)
    }
}
