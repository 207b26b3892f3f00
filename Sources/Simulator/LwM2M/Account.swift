/// One instance of the Security object (`/0`): where a server is and how to speak with it.
struct Account {
    var uri: String
    var isBootstrapServer: Bool
    /// 0 is a pre-shared key, 3 is none.
    var securityMode: Int64
    var identity: [UInt8] = []
    var key: [UInt8] = []
    var shortServerID: Int64?

    static let preSharedKey: Int64 = 0
    static let noSecurity: Int64 = 3

    /// Takes the account out of the resources of an instance; nil while it lacks what every account has.
    init?(resources: [UInt16: [UInt8]]) {
        guard let uri = resources[0], let isBootstrapServer = resources[1],
            let mode = resources[2].flatMap(TLV.integer(of:))
        else { return nil }
        self.uri = String(decoding: uri, as: UTF8.self)
        self.isBootstrapServer = isBootstrapServer == [1]
        self.securityMode = mode
        self.identity = resources[3] ?? []
        self.key = resources[5] ?? []
        self.shortServerID = resources[10].flatMap(TLV.integer(of:))
    }

    init(uri: String, isBootstrapServer: Bool, shortServerID: Int64?) {
        self.uri = uri
        self.isBootstrapServer = isBootstrapServer
        self.securityMode = Self.noSecurity
        self.shortServerID = shortServerID
    }

    /// The resources of the instance, as a server that knows no security writes them.
    var resources: [Resource] {
        var resources = [
            Resource(identifier: 0, value: .text(self.uri)),
            Resource(identifier: 1, value: .boolean(self.isBootstrapServer)),
            Resource(identifier: 2, value: .integer(self.securityMode)),
            Resource(identifier: 3, value: .bytes(self.identity)),
            Resource(identifier: 4, value: .bytes([])),
            Resource(identifier: 5, value: .bytes(self.key)),
        ]
        if let shortServerID { resources.append(Resource(identifier: 10, value: .integer(shortServerID))) }
        return resources
    }
}

/// One instance of the Server object (`/1`): how a device behaves towards a server.
struct ServerSettings {
    var shortServerID: Int64
    var lifetime: Int64

    init(shortServerID: Int64, lifetime: Int64) {
        self.shortServerID = shortServerID
        self.lifetime = lifetime
    }

    init?(resources: [UInt16: [UInt8]]) {
        guard let shortServerID = resources[0].flatMap(TLV.integer(of:)) else { return nil }
        self.shortServerID = shortServerID
        self.lifetime = resources[1].flatMap(TLV.integer(of:)) ?? 86400
    }

    var resources: [Resource] {
        [
            Resource(identifier: 0, value: .integer(self.shortServerID)),
            Resource(identifier: 1, value: .integer(self.lifetime)),
            Resource(identifier: 2, value: .integer(1)),
            Resource(identifier: 6, value: .boolean(true)),
            Resource(identifier: 7, value: .text("U")),
        ]
    }
}
