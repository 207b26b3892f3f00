import LwM2M
import Secrets
import Testing

@testable import Gateway

@Suite("Rewriting: what a device answers, as upstream wrote it")
struct RewritingAnswersTests {
    private static func discovered(_ rewriter: AccountRewriter, _ links: String) throws -> String {
        String(decoding: try rewriter.answer(toDiscover: Array(links.utf8)), as: UTF8.self)
    }

    /// Without a rule: kept in the clear.
    private static func kept(_ id: UInt16) -> ObjectInstance {
        Rewriting.server(id, uri: "coap://192.0.2.99:5683", ssid: 3000)
    }

    private static func settings(_ id: UInt16, ssid: Int64, binding: String = "UQS") -> ObjectInstance {
        ObjectInstance(
            id: id,
            resources: [
                Rewriting.number(0, ssid), Rewriting.number(1, 86_400), Rewriting.text(7, binding),
                Rewriting.text(22, "T"), Rewriting.text(9_000, "unknown"),
            ]
        )
    }

    // MARK: - Discover

    @Test("T32: addresses in a Discover answer are those that upstream wrote, unknown ones are left out")
    func addresses() throws {
        var rewriter = Rewriting.rewriter()
        rewriter.bootstrapInstanceID = 1
        let links =
            "</>;lwm2m=1.1,</0/0>;ssid=1111;uri=\"coaps://edge.example.net:5684\",</0/1>;uri=\"coaps://edge.example.net\","
            + "</0/5>;uri=\"coaps://old\";ssid=7,</1/0>;ssid=1111,</3/0>;uri=\"kept\""
        #expect(
            try Self.discovered(rewriter, links)
                == "</>;lwm2m=1.1,</0/0>;ssid=1111,</0/1>,</0/5>;ssid=7,</1/0>;ssid=1111,</3/0>;uri=\"kept\"")
        _ = try rewriter.write(Rewriting.server(0))
        _ = try rewriter.write(Rewriting.bootstrap(1))
        #expect(
            try Self.discovered(rewriter, links)
                == "</>;lwm2m=1.1,</0/0>;ssid=1111;uri=\"coap://10.1.0.20:5683\",</0/1>;uri=\"coap://10.1.0.10:5683\","
                + "</0/5>;ssid=7,</1/0>;ssid=1111,</3/0>;uri=\"kept\"")
        // What was deleted is no longer known.
        try rewriter.permitDelete(.root)
        #expect(try Self.discovered(rewriter, "</0/0>;ssid=1111;uri=\"coaps://x\"") == "</0/0>;ssid=1111")
    }

    @Test("T21, T32: numbers in a Discover answer are upstream's")
    func numbers() throws {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        _ = try rewriter.write([Self.kept(0), Rewriting.server(1)])
        _ = try rewriter.write([Self.settings(0, ssid: 3000), Self.settings(1, ssid: 1111)], object: 1)
        // At the device it is the other way round, and that order is kept.
        #expect(
            try Self.discovered(rewriter, "</0/0/>;ssid=1111,</0/1>;ssid=3000,</1/0>;ssid=1111,</1/1>;ssid=3000,</5>")
                == "</0/1/>;ssid=1111,</0/0>;ssid=3000,</1/1>;ssid=1111,</1/0>;ssid=3000,</5>")
    }

    @Test("T33: links and attributes that mean nothing here go on as they are")
    func unknownLinks() throws {
        let rewriter = Rewriting.rewriter()
        for links in ["lwm2m=\"1.0\",</0/0>;ssid=101,</0/1>, </3>;ver=1.1;x=\"a,b\",</bs>,</00/1>;uri=\"x\"", ""] {
            #expect(try Self.discovered(rewriter, links) == links)
        }
        #expect(throws: AccountRewriter.UnusableAnswer.self) { try Self.discovered(rewriter, "</0/0") }
    }

    // MARK: - The bootstrap account keeps its number

    @Test("T20: a server account that upstream writes where the device has its bootstrap account goes to a free number")
    func serverOnBootstrapAccount() throws {
        var rewriter = Rewriting.rewriter()
        rewriter.bootstrapInstanceID = 0
        let path = LwM2MPath(0, 0)
        let written = try rewriter.rewrite(
            path: ["0", "0"], contentFormat: 11542, payload: TLV.encode(.instance(Rewriting.server(0))),
            mint: Rewriting.mint)
        #expect(written.path == LwM2MPath(0, 1) && written.accounts.map(\.instanceID) == [1])
        #expect(rewriter.bootstrapInstanceID == 0)
        // Upstream's own bootstrap account then goes to the device's.
        let bootstrap = try rewriter.rewrite(
            path: ["0", "1"], contentFormat: 11542, payload: TLV.encode(.instance(Rewriting.bootstrap(1))),
            mint: Rewriting.mint)
        #expect(bootstrap.path == path && bootstrap.accounts.first?.isBootstrapServer == true)
        #expect(
            try Self.discovered(rewriter, "</0/0>;uri=\"x\",</0/1>;ssid=1111;uri=\"y\"")
                == "</0/1>;uri=\"coap://10.1.0.10:5683\",</0/0>;ssid=1111;uri=\"coap://10.1.0.20:5683\"")
        #expect(try rewriter.permitDelete(path) == LwM2MPath(0, 1))
        #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 1)) }
    }

    @Test("T19, T20: a bootstrap account with another number than the device's is not doubled")
    func bootstrapElsewhere() throws {
        var rewriter = Rewriting.rewriter()
        rewriter.bootstrapInstanceID = 7
        let (instances, accounts) = try rewriter.write([
            Rewriting.server(0), Rewriting.bootstrap(1), Rewriting.server(7, uri: "coap://x", ssid: 2000),
        ])
        #expect(instances.map(\.id).sorted() == [0, 1, 7] && Set(accounts.map(\.instanceID)).count == 3)
        #expect(instances.first { $0.id == 7 }?[1] == [1])
        #expect(instances.filter { $0.id != 7 }.allSatisfy { $0[1] == [0] })
    }

    @Test("T20: several servers around a bootstrap account never collide, however they are written", arguments: 0...4)
    func noCollisions(own: UInt16) throws {
        let servers = [
            Rewriting.server(0), Rewriting.server(1, uri: "coap://x", ssid: 2000), Rewriting.server(2, ssid: 3000),
            Rewriting.server(3, ssid: 3001),
        ]
        for together in [true, false] {
            var rewriter = Rewriting.rewriter(.dtls, unmatched: .keep)
            rewriter.bootstrapInstanceID = own
            var numbers: [UInt16] = []
            if together {
                numbers = try rewriter.write(servers).instances.map(\.id)
            } else {
                for server in servers {
                    let written = try rewriter.rewrite(
                        path: ["0", "\(server.id)"], contentFormat: 11542, payload: TLV.encode(.instance(server)),
                        mint: Rewriting.mint)
                    numbers += written.accounts.map(\.instanceID)
                }
            }
            #expect(Set(numbers).count == 4 && !numbers.contains(own), "\(numbers), together: \(together)")
            for (server, number) in zip(servers, numbers) where !together {
                #expect(rewriter.place(LwM2MPath(0, server.id)) == LwM2MPath(0, number))
                #expect(rewriter.origin(of: LwM2MPath(0, number)) == LwM2MPath(0, server.id))
            }
        }
    }

    // MARK: - Read

    private static let formats: [ContentFormat] = [.tlv, .oldTLV, .senMLJSON, .senMLCBOR, .json, .lwm2mCBOR]

    @Test("T34: binding and preferred transport read as upstream wrote them, in every format", arguments: formats)
    func binding(format: ContentFormat) throws {
        var rewriter = Rewriting.rewriter()
        var written = Self.settings(0, ssid: 1111)
        written.resources.removeLast()
        let device = try rewriter.write(written, object: 1).instance
        #expect(device.text(7) == "UQ" && device.text(22) == "U")
        for path in [LwM2MPath(1), LwM2MPath(1, 0)] {
            func content(_ instance: ObjectInstance) -> PathContent {
                path.count == 1 ? .instances([instance]) : .instance(instance)
            }
            let answer = try rewriter.answer(
                toRead: PayloadCodec.encode(content(device), format, at: path), contentFormat: format.rawValue,
                of: path)
            #expect(try PayloadCodec.decode(answer, format, at: path) == content(written))
        }
    }

    @Test("T34: what the device has otherwise by now, and what it had before, is read as it is")
    func changedMeanwhile() throws {
        var rewriter = Rewriting.rewriter()
        _ = try rewriter.write(Self.settings(0, ssid: 1111), object: 1)
        var instance = Self.settings(0, ssid: 1111, binding: "UQ")
        instance.resources[3] = Rewriting.text(22, "N")
        let answer = try rewriter.answer(
            toRead: TLV.encode(.instance(instance)), contentFormat: 11542, of: LwM2MPath(1, 0))
        guard case .instance(let read) = try TLV.decode(answer, at: LwM2MPath(1, 0)) else { return }
        #expect(read.text(7) == "UQS" && read.text(22) == "N" && read.text(9_000) == "unknown")
        let earlier = try TLV.encode(.instance(Self.settings(3, ssid: 9, binding: "U")))
        #expect(
            try rewriter.answer(toRead: earlier, contentFormat: 11542, of: LwM2MPath(1, 3)) == earlier)
    }

    @Test("T21: instance numbers, priorities and what refers to instances are read as upstream wrote them")
    func references() throws {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        rewriter.hasPriorities = true
        let servers = [Self.settings(0, ssid: 3000), Self.settings(1, ssid: 1111)]
        _ = try rewriter.write([Self.kept(0), Rewriting.server(1)])
        let device = try rewriter.write(servers, object: 1).instances
        #expect(device.compactMap { $0.number(13) }.count == 2)
        let answer = try rewriter.answer(
            toRead: TLV.encode(.instances(device)), contentFormat: 11542, of: LwM2MPath(1))
        #expect(try TLV.decode(answer, at: LwM2MPath(1)) == .instances([servers[1], servers[0]]))
        // One of them, by upstream's number.
        let one = try rewriter.answer(
            toRead: TLV.encode(.instance(device[1])), contentFormat: 11542, of: LwM2MPath(1, 0))
        #expect(try TLV.decode(one, at: LwM2MPath(1, 0)) == .instance(servers[0]))

        func control(_ object: Int64, _ instance: Int64) -> ObjectInstance {
            ObjectInstance(
                id: 4,
                resources: [
                    Rewriting.number(0, object), Rewriting.number(1, instance), Rewriting.several(2, [[1]]),
                    Rewriting.number(3, 1111),
                ])
        }
        for (own, read) in [(control(1, 0), control(1, 1)), (control(3, 0), control(3, 0))] {
            let answer = try rewriter.answer(
                toRead: TLV.encode(.instances([own])), contentFormat: 11542, of: LwM2MPath(2))
            #expect(try TLV.decode(answer, at: LwM2MPath(2)) == .instances([read]))
        }
    }

    @Test("T35: an answer that cannot be read, or does not say in which format it is, is kept back")
    func unusable() throws {
        let rewriter = Rewriting.rewriter()
        let valid = try TLV.encode(.instance(Self.settings(0, ssid: 1111)))
        for (payload, format) in [
            (valid, nil), (valid, 50), (valid, 0), (valid, 112), ([0xC8, 0x00] as [UInt8], 11542),
        ] as [([UInt8], UInt16?)] {
            #expect(throws: AccountRewriter.UnusableAnswer.self) {
                try rewriter.answer(toRead: payload, contentFormat: format, of: LwM2MPath(1, 0))
            }
        }
        #expect(try rewriter.answer(toRead: [], contentFormat: 11542, of: LwM2MPath(1)) == [])
    }
}
