# Of a release with vendor/ in it: nothing is fetched but that. Its checksum cannot stand in a file
# that is in it: `brew install` warns of that, and a tap has a copy of this file with one.
class Hopbox < Formula
  desc "Your own Linux server as part of your laptop"
  homepage "https://example.org/hopbox"
  url "https://example.org/hopbox/hopbox-0.2.0.tar.xz"
  license "Apache-2.0"

  depends_on "rust" => :build

  def install
    ENV["CARGO_HOME"] = buildpath/"cargo-home"
    system "make", "build"
    # A unit of systemd outside of its own directories is read by nobody; the helper writes its own.
    system "make", "install", "PREFIX=#{prefix}", "SYSTEMD=no"
  end

  def caveats
    <<~EOS
      The part of hopbox that runs as root is installed by you, and says what it writes:
        sudo #{opt_sbin}/hop-helper --install
      Before `brew uninstall hopbox` it is taken back:
        sudo #{opt_sbin}/hop-helper --uninstall
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/hop --version")
    assert_match "hop setup", shell_output("#{bin}/hop help")
  end
end
