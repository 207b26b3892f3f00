import Secrets
import Testing

@testable import Admin

@Suite("Tokens of those who may read")
struct AdminSettingsTests {
    private static var settings: AdminSettings {
        var settings = AdminSettings()
        settings.tokens = [
            .init(name: "prometheus", role: .viewer, secret: Secret("first-token".utf8)),
            .init(name: "ops", role: .operator, secret: Secret("second-token".utf8)),
        ]
        return settings
    }

    @Test("A token names who uses it and what it allows")
    func known() {
        #expect(Self.settings.token("first-token")?.name == "prometheus")
        #expect(Self.settings.token("first-token")?.role == .viewer)
        #expect(Self.settings.token("second-token")?.role == .operator)
    }

    @Test(
        "Nothing else is a token",
        arguments: ["", "first", "first-token ", "First-token", "first-tokensecond-token", "first-tokem", "\0"])
    func unknown(presented: String) {
        #expect(Self.settings.token(presented) == nil)
    }

    @Test("Without tokens in the configuration nobody has one")
    func none() { #expect(AdminSettings().token("") == nil) }
}
