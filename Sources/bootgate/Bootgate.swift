@main
struct Bootgate {
    static func main() {}
}
