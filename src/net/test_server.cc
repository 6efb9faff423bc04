// SPDX-License-Identifier: Apache-2.0
// Plain blocking sockets and threads: only what the test requested may go wrong here. Stopping works by
// shutdown(2) on every socket, which makes blocked calls return.
#include "net/test_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <csignal>
#include <cstring>
#include <list>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/unique_fd.h"

namespace sluice::net::test {
namespace {

using Bio = std::unique_ptr<BIO, decltype([](BIO* bio) { BIO_free_all(bio); })>;
using Context = std::unique_ptr<SSL_CTX, decltype([](SSL_CTX* context) { SSL_CTX_free(context); })>;
using Session = std::unique_ptr<SSL, decltype([](SSL* ssl) { SSL_free(ssl); })>;
using Cert = std::unique_ptr<X509, decltype([](X509* certificate) { X509_free(certificate); })>;
using Key = std::unique_ptr<EVP_PKEY, decltype([](EVP_PKEY* key) { EVP_PKEY_free(key); })>;

Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}
Cert certificate_of(const std::string& pem) {
  return Cert(PEM_read_bio_X509(bio_of(pem).get(), nullptr, nullptr, nullptr));
}

Context make_context(const TestServer::Options& options) {
  if (!options.certificate) return nullptr;
  Context context(SSL_CTX_new(TLS_server_method()));
  const Key key(PEM_read_bio_PrivateKey(bio_of(options.certificate->key_pem).get(), nullptr, nullptr, nullptr));
  SLUICE_CHECK(SSL_CTX_use_certificate(context.get(), certificate_of(options.certificate->certificate_pem).get()) == 1);
  SLUICE_CHECK(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1);
  if (!options.client_authority_pem.empty()) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), certificate_of(options.client_authority_pem).get());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return context;
}

Request parse_head(std::string_view text) {
  Request request;
  for (bool first = true; !text.empty(); first = false) {
    const std::size_t end = text.find("\r\n");
    std::string line(text.substr(0, end));
    text.remove_prefix(end + 2);
    if (first) {
      request.method = line.substr(0, line.find(' '));
      line.erase(0, request.method.size() + 1);
      line.resize(line.find(' '));
      const std::size_t question = std::min(line.find('?'), line.size());
      request.path = line.substr(0, question);
      request.query_text = question < line.size() ? line.substr(question + 1) : "";
      continue;
    }
    std::string name = line.substr(0, line.find(':'));
    const auto lower = [](unsigned char c) { return static_cast<char>(std::tolower(c)); };
    std::transform(name.begin(), name.end(), name.begin(), lower);
    request.headers[name] = line.substr(line.find(": ") + 2);
  }
  for (std::string_view rest = request.query_text; !rest.empty();) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    request.query[std::string(pair.substr(0, equals))] = pair.substr(std::min(equals + 1, pair.size()));
  }
  return request;
}

class Connection : public Peer {
 public:
  Connection(int fd, SSL_CTX* context) : fd_(fd), session_(context == nullptr ? nullptr : SSL_new(context)) {
    if (session_) SSL_set_fd(session_.get(), fd);
  }

  bool accept() { return !session_ || SSL_accept(session_.get()) == 1; }

  std::optional<Request> read_request() override {
    std::size_t end = std::string::npos;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return std::nullopt;
    }
    Request request = parse_head(std::string_view(buffer_).substr(0, end + 2));
    buffer_.erase(0, end + 4);
    const std::size_t length = std::stoul("0" + request.headers["content-length"]);
    while (buffer_.size() < length) {
      if (!receive()) return std::nullopt;
    }
    request.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return request;
  }

  std::string read_some() override {
    if (buffer_.empty()) receive();
    return std::exchange(buffer_, {});
  }

  bool send(std::string_view bytes) override {
    while (!bytes.empty()) {
      const int size = static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20));
      const long sent =
          session_ ? SSL_write(session_.get(), bytes.data(), size) : ::send(fd_, bytes.data(), bytes.size(), 0);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  void wait_for_end() override {
    while (receive()) buffer_.clear();
  }

  void reset() override {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }

 private:
  bool receive() {
    std::array<char, 16384> part{};
    const long size = session_ ? SSL_read(session_.get(), part.data(), static_cast<int>(part.size()))
                               : ::recv(fd_, part.data(), part.size(), 0);
    if (size > 0) buffer_.append(part.data(), static_cast<std::size_t>(size));
    return size > 0;
  }

  const int fd_;
  const Session session_;
  std::string buffer_;
};

}  // namespace

std::string answer(int status, std::string_view body, std::string_view more_headers) {
  return fmt::format("HTTP/1.1 {} Because\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", status,
                     body.size(), more_headers, body);
}

std::string chunked_head(int status) {
  return fmt::format(
      "HTTP/1.1 {} Because\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n",
      status);
}

std::string chunk(std::string_view bytes) {
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

struct TestServer::Impl {
  Impl(const Options& server_options, Handler server_handler)
      : handler(std::move(server_handler)), context(make_context(server_options)) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    const bool v4 = server_options.address.family() == Family::kIPv4;
    listener = UniqueFd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in in{};
    sockaddr_in6 in6{};
    in.sin_family = AF_INET;
    in6.sin6_family = AF_INET6;
    const auto bytes = server_options.address.bytes();
    std::memcpy(v4 ? static_cast<void*>(&in.sin_addr) : &in6.sin6_addr, bytes.data(), bytes.size());
    auto* name = v4 ? reinterpret_cast<sockaddr*>(&in) : reinterpret_cast<sockaddr*>(&in6);
    socklen_t size = v4 ? sizeof(in) : sizeof(in6);
    SLUICE_CHECK(::bind(listener.get(), name, size) == 0);
    SLUICE_CHECK(::listen(listener.get(), 64) == 0);
    SLUICE_CHECK(::getsockname(listener.get(), name, &size) == 0);
    port = ntohs(v4 ? in.sin_port : in6.sin6_port);
    acceptor = std::thread([this] { accept(); });
  }

  ~Impl() {
    ::shutdown(listener.get(), SHUT_RDWR);
    acceptor.join();
    {
      const std::lock_guard<std::mutex> lock(mutex);
      for (const int fd : open) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads) thread.join();
  }

  void accept() {
    while (true) {
      const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++connections;
      const std::lock_guard<std::mutex> lock(mutex);
      open.insert(fd);
      threads.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    const UniqueFd owner(fd);
    {
      Connection connection(fd, context.get());
      if (connection.accept()) handler(connection);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    open.erase(fd);
  }

  const Handler handler;
  const Context context;
  UniqueFd listener;
  std::uint16_t port = 0;
  std::atomic<int> connections{0};
  std::mutex mutex;
  std::set<int> open;
  std::list<std::thread> threads;
  std::thread acceptor;
};

TestServer::TestServer(const Options& options, Handler handler)
    : impl_(std::make_unique<Impl>(options, std::move(handler))) {}
TestServer::~TestServer() = default;
std::uint16_t TestServer::port() const {
  return impl_->port;
}
int TestServer::connections() const {
  return impl_->connections;
}

}  // namespace sluice::net::test
