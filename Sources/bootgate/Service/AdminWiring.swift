internal import Admin
internal import Records

extension BootgateConfiguration {
    /// The longest path that a Unix socket can have (`sun_path`, its NUL aside).
    private static let longestSocketPath = 107

    /// The socket of `bootgate status`, in the state folder: who may open that may ask. Nil where its path is too long.
    var adminSocket: String? {
        let path = self.state + "/gateway.sock"
        return path.utf8.count <= Self.longestSocketPath ? path : nil
    }

    /// `admin` with its tokens read.
    func adminSettings() throws(RecordsError) -> AdminSettings {
        var settings = AdminSettings()
        settings.address = self.admin.address.map { ($0.host, Int($0.port)) }
        settings.socket = self.adminSocket
        settings.metricsAreOpen = self.admin.metricsAreOpen
        for token in self.admin.tokens {
            let secret = try token.source.readText(purpose: "token of \(token.name)")
            settings.tokens.append(.init(name: token.name, role: token.role, secret: secret))
        }
        return settings
    }
}
