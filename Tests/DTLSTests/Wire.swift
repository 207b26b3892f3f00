/// Takes datagrams apart in tests, with code of its own.
enum Wire {
    struct Record: Equatable {
        var type: UInt8
        var epoch: Int
        var sequence: UInt64
        var body: [UInt8]
        /// Type of the first handshake message; nil for other and for protected records.
        var message: UInt8? { self.type == 22 && self.epoch == 0 ? self.body.first : nil }
    }

    static func records(_ datagram: [UInt8]) -> [Record] {
        var records: [Record] = []
        var index = 0
        while index + 13 <= datagram.count {
            let count = Int(datagram[index + 11]) << 8 | Int(datagram[index + 12])
            guard index + 13 + count <= datagram.count else { break }
            records.append(
                Record(
                    type: datagram[index],
                    epoch: Int(datagram[index + 3]) << 8 | Int(datagram[index + 4]),
                    sequence: datagram[(index + 5)..<(index + 11)].reduce(0) { $0 << 8 | UInt64($1) },
                    body: Array(datagram[(index + 13)..<(index + 13 + count)])
                )
            )
            index += 13 + count
        }
        return records
    }

    /// The datagram split into one per record.
    static func split(_ datagram: [UInt8]) -> [[UInt8]] {
        var parts: [[UInt8]] = []
        var index = 0
        for record in self.records(datagram) {
            parts.append(Array(datagram[index..<(index + 13 + record.body.count)]))
            index += 13 + record.body.count
        }
        return parts
    }

    static func record(
        _ type: UInt8,
        epoch: UInt8 = 0,
        sequence: UInt64 = 0,
        minor: UInt8 = 0xFD,
        _ body: [UInt8]
    ) -> [UInt8] {
        let number = (0..<6).reversed().map { UInt8(truncatingIfNeeded: sequence >> (UInt64($0) * 8)) }
        return [type, 0xFE, minor, 0, epoch] + number
            + [UInt8(truncatingIfNeeded: body.count >> 8), UInt8(truncatingIfNeeded: body.count)] + body
    }

    /// A handshake message or a piece of one; `length` and `offset` as told.
    static func message(
        _ type: UInt8,
        number: UInt8,
        _ body: [UInt8],
        length: Int? = nil,
        offset: Int = 0
    ) -> [UInt8] {
        [type] + self.number(length ?? body.count) + [0, number] + self.number(offset) + self.number(body.count) + body
    }

    /// A well-formed ClientHello with one suite.
    static func hello(
        cookie: [UInt8] = [],
        random: UInt8 = 7,
        number: UInt8 = 0,
        sequence: UInt64 = 0,
        recordMinor: UInt8 = 0xFD,
        minor: UInt8 = 0xFD,
        suites: [UInt8] = [0xC0, 0xA8],
        extensions: [UInt8] = []
    ) -> [UInt8] {
        var body: [UInt8] = [0xFE, minor]
        body += Array(repeating: random, count: 32)
        body += [0, UInt8(cookie.count)] + cookie
        body += [0, UInt8(suites.count)] + suites + [1, 0] + extensions
        return self.record(22, sequence: sequence, minor: recordMinor, self.message(1, number: number, body))
    }

    /// The cookie of a HelloVerifyRequest.
    static func cookie(_ datagram: [UInt8]) -> [UInt8] { Array(datagram.dropFirst(28)) }

    /// The datagram with everything random overwritten: randoms, session IDs, cookies, and protected bodies.
    static func withoutRandomness(_ datagram: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for part in self.split(datagram) {
            var part = part
            let record = self.records(part)[0]
            switch (record.epoch, record.message) {
            case (0, 1), (0, 2):
                for index in 27..<59 { part[index] = 0 }
                let end = 60 + Int(part[59])
                for index in 60..<end { part[index] = 0 }
                if record.message == 1 { for index in (end + 1)..<(end + 1 + Int(part[end])) { part[index] = 0 } }
            case (0, 3): for index in 28..<part.count { part[index] = 0 }
            case (0, 12):
                // Without a hint: curve and length, then the public value.
                for index in 31..<part.count { part[index] = 0 }
            case (0, _): break
            default: for index in 13..<part.count { part[index] = 0 }
            }
            bytes += part
        }
        return bytes
    }

    private static func number(_ value: Int) -> [UInt8] {
        [UInt8(value >> 16 & 0xFF), UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)]
    }
}
