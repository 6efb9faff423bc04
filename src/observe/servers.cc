// SPDX-License-Identifier: Apache-2.0
// Add-ons, cloud balancers and users query a node's proxy on two well-known ports, by paths that kube-proxy has had for
// years. An address in use is retried every 5 seconds: on a restart the previous process may still be
// closing.
#include "observe/servers.h"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <map>

#include "base/clock.h"
#include "net/http_server.h"
#include "observe/process_stats.h"

namespace sluice::observe {
namespace {

using Handler = net::HttpServer::Handler;
using Page = std::function<net::HttpResponse(const net::HttpRequest&)>;

net::HttpResponse plain(std::string body, int status = 200) {
  net::HttpResponse response;
  response.status = status;
  response.headers = {{"X-Content-Type-Options", "nosniff"}};
  response.body = std::move(body);
  return response;
}

net::HttpResponse json(std::string body, int status = 200) {
  net::HttpResponse response = plain(std::move(body), status);
  response.content_type = "application/json";
  return response;
}

net::HttpResponse not_found() {
  return plain("404 page not found\n", 404);
}

bool query_has(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    if (pair.substr(0, pair.find('=')) == key) return true;
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
  }
  return false;
}

class RetryingServer : public ObserveServer {
 public:
  RetryingServer(net::EventLoop& loop, ServerOptions options, Handler handler)
      : loop_(loop), options_(std::move(options)), handler_(std::move(handler)), timer_(loop) {}

  Result<> start() {
    auto server = net::HttpServer::listen(loop_, options_.listen_on.address, options_.listen_on.port, handler_);
    if (server) {
      server_ = std::move(*server);
      return {};
    }
    if (options_.on_failure) options_.on_failure(server.error().what);
    if (options_.hard_fail) return tl::unexpected(server.error());
    timer_.expires_after(options_.retry_interval);
    // A timer that has expired cannot be cancelled any more, so the handler may run after the server's end.
    timer_.async_wait([this, alive = std::weak_ptr<void>(alive_)](boost::system::error_code error) {
      if (error || alive.expired()) return;
      [[maybe_unused]] const Result<> reported_through_on_failure = start();
    });
    return {};
  }

  [[nodiscard]] std::uint16_t port() const override { return server_ ? server_->port() : 0; }

 private:
  net::EventLoop& loop_;
  const ServerOptions options_;
  const Handler handler_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<net::HttpServer> server_;
  const std::shared_ptr<void> alive_ = std::make_shared<char>();
};

Result<std::unique_ptr<ObserveServer>> start(net::EventLoop& loop, ServerOptions options, Handler handler) {
  auto server = std::make_unique<RetryingServer>(loop, std::move(options), std::move(handler));
  SLUICE_CHECK_OK(server->start());
  return server;
}

// Kubernetes' handler of flags over HTTP (component-base, StringFlagPutHandler): 406 for other methods.
net::HttpResponse put_verbosity(const std::function<void(int)>& set, const net::HttpRequest& request) {
  if (request.method != "PUT") return plain("unsupported http method\n", 406);
  int level = 0;
  const char* end = request.body.data() + request.body.size();
  const auto parsed = std::from_chars(request.body.data(), end, level);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return plain(fmt::format("failed set klog.logging.verbosity {}: not a number\n", request.body), 400);
  }
  set(level);
  return plain(fmt::format("successfully set klog.logging.verbosity to {}\n", level));
}

// A page as text or as an object, as requested.
net::HttpResponse zpage(const net::HttpRequest& request, std::string_view kind,
                        const std::function<std::string(const ZpageForm&)>& page) {
  const auto form = choose_form(request.accept, kind);
  if (!form) return json(not_acceptable_json(), 406);
  std::string body = page(*form);
  return form->object_version.empty() ? plain(std::move(body)) : json(std::move(body));
}

// When this process started. If /proc does not show it, now, as this is called at the start.
Clock::WallTime process_start() {
  const auto stats = read_process_stats();
  if (!stats) return system_clock().wall_now();
  const auto since_1970 = std::chrono::duration<double>(stats->start_time_seconds);
  return Clock::WallTime(std::chrono::duration_cast<Clock::WallTime::duration>(since_1970));
}

void add_debug_pages(std::map<std::string, Page>& table, const MetricsPages& pages) {
  if (pages.set_verbosity) {
    table["/debug/flags/v"] = [set = pages.set_verbosity](const net::HttpRequest& request) {
      return put_verbosity(set, request);
    };
  }
  table["/debug/pprof/"] = [](const net::HttpRequest&) {
    return plain("Go's profiles do not exist for this program; perf(1) can profile it\n", 501);
  };
}

std::map<std::string, Page> metrics_table(const Metrics& metrics, const MetricsPages& pages) {
  std::map<std::string, Page> table;
  table["/metrics"] = [&metrics](const net::HttpRequest&) {
    net::HttpResponse response = plain(metrics.text());
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return response;
  };
  table["/healthz"] = [](const net::HttpRequest& request) {
    return plain(query_has(request.query, "verbose") ? "[+]ping ok\nhealthz check passed\n" : "ok");
  };
  table["/healthz/ping"] = [](const net::HttpRequest&) { return plain("ok"); };
  table["/proxyMode"] = [mode = pages.proxy_mode](const net::HttpRequest&) { return plain(mode); };
  if (pages.configz) {
    table["/configz"] = [configz = pages.configz](const net::HttpRequest&) {
      return json(fmt::format(R"({{"kubeproxy.config.k8s.io":{}}})", configz()));
    };
  }
  if (pages.profiling) add_debug_pages(table, pages);
  if (pages.flagz) {
    table["/flagz"] = [flags = *pages.flagz](const net::HttpRequest& request) {
      return zpage(request, "Flagz", [&flags](const ZpageForm& form) { return flagz_page(form, flags); });
    };
  }
  if (pages.emulation_version) {
    StatuszFacts facts{process_start(), {}, *pages.emulation_version, {}};
    for (const auto& [path, page] : table) facts.paths.push_back(path);
    table["/statusz"] = [facts](const net::HttpRequest& request) mutable {
      facts.now = system_clock().wall_now();
      return zpage(request, "Statusz", [&facts](const ZpageForm& form) { return statusz_page(form, facts); });
    };
  }
  return table;
}

}  // namespace

Result<ListenOn> parse_listen_on(std::string_view text) {
  const auto invalid = [text] { return fail(Errc::kInvalid, fmt::format("{}: must be IP:port", text)); };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid();
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  // Without brackets the last group of an IPv6 address would be taken for a port.
  if (!address || bracketed != (host.find(':') != std::string_view::npos)) return invalid();
  ListenOn result{*address};
  const std::string_view number = text.substr(colon + 1);
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), result.port);
  if (parsed.ec != std::errc() || parsed.ptr != number.data() + number.size()) return invalid();
  return result;
}

Result<std::unique_ptr<ObserveServer>> start_healthz_server(net::EventLoop& loop, ServerOptions options,
                                                            const Health& health, Metrics& metrics) {
  return start(loop, std::move(options), [&health, &metrics](const net::HttpRequest& request) {
    if (request.path == "/healthz") {
      Health::Response response = health.healthz();
      metrics.add_healthz(response.status);
      return json(std::move(response.body), response.status);
    }
    if (request.path == "/livez") {
      Health::Response response = health.livez();
      metrics.add_livez(response.status);
      return json(std::move(response.body), response.status);
    }
    return not_found();
  });
}

Result<std::unique_ptr<ObserveServer>> start_metrics_server(net::EventLoop& loop, ServerOptions options,
                                                            const Metrics& metrics, const MetricsPages& pages) {
  return start(loop, std::move(options), [table = metrics_table(metrics, pages)](const net::HttpRequest& request) {
    // Everything below /debug/pprof/ is one page.
    const bool pprof = request.path.starts_with("/debug/pprof");
    const auto page = table.find(pprof ? "/debug/pprof/" : request.path);
    return page == table.end() ? not_found() : page->second(request);
  });
}

}  // namespace sluice::observe
