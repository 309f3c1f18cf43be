package pve

// firewallMacro is one rule of a macro: a protocol with destination ports as PVE writes them, empty for all.
type firewallMacro struct{ protocol, ports string }

// firewallMacros are macros of PVE's firewall by their names in lower case (PVE::Firewall, $pve_fw_macros; pve-docs,
// pve-firewall-macros.adoc). One that is not here is not judged.
var firewallMacros = map[string][]firewallMacro{
	"amanda": {{"udp", "10080"}, {"tcp", "10080"}}, "auth": {{"tcp", "113"}}, "bgp": {{"tcp", "179"}}, "bittorrent": {{"tcp", "6881:6889"}, {"udp", "6881"}},
	"bittorrent32": {{"tcp", "6881:6999"}, {"udp", "6881"}}, "ceph": {{"tcp", "6789"}, {"tcp", "3300"}, {"tcp", "6800:7300"}}, "cvs": {{"tcp", "2401"}},
	"citrix": {{"tcp", "1494"}, {"udp", "1604"}, {"tcp", "2598"}}, "dcc": {{"tcp", "6277"}}, "dns": {{"udp", "53"}, {"tcp", "53"}}, "distcc": {{"tcp", "3632"}},
	"finger": {{"tcp", "79"}}, "ftp": {{"tcp", "21"}}, "git": {{"tcp", "9418"}}, "gnutella": {{"tcp", "6346"}, {"udp", "6346"}}, "gre": {{"gre", ""}},
	"hkp": {{"tcp", "11371"}}, "http": {{"tcp", "80"}}, "https": {{"tcp", "443"}}, "icpv2": {{"udp", "3130"}}, "icq": {{"tcp", "5190"}}, "imap": {{"tcp", "143"}},
	"imaps": {{"tcp", "993"}}, "ipsec": {{"udp", "500"}, {"esp", ""}}, "ipsecah": {{"udp", "500"}, {"ah", ""}}, "ipsecnat": {{"udp", "500"}, {"udp", "4500"}, {"esp", ""}},
	"ircu": {{"tcp", "6667"}}, "jetdirect": {{"tcp", "9100"}}, "l2tp": {{"udp", "1701"}}, "ldap": {{"tcp", "389"}}, "ldaps": {{"tcp", "636"}}, "mdns": {{"udp", "5353"}},
	"msnp": {{"tcp", "1863"}}, "mssql": {{"tcp", "1433"}}, "mail": {{"tcp", "25"}, {"tcp", "465"}, {"tcp", "587"}}, "munin": {{"tcp", "4949"}}, "mysql": {{"tcp", "3306"}},
	"nntp": {{"tcp", "119"}}, "nntps": {{"tcp", "563"}}, "ntp": {{"udp", "123"}}, "ospf": {{"ospf", ""}}, "openvpn": {{"udp", "1194"}}, "pcanywhere": {{"udp", "5632"}, {"tcp", "5631"}},
	"pmg": {{"tcp", "8006"}}, "pop3": {{"tcp", "110"}}, "pop3s": {{"tcp", "995"}}, "pptp": {{"gre", ""}, {"tcp", "1723"}}, "postgresql": {{"tcp", "5432"}}, "printer": {{"tcp", "515"}},
	"rdp": {{"tcp", "3389"}}, "rip": {{"udp", "520"}}, "rndc": {{"tcp", "953"}}, "razor": {{"tcp", "2703"}}, "rdate": {{"tcp", "37"}}, "rsync": {{"tcp", "873"}},
	"sane": {{"tcp", "6566"}}, "smb": {{"udp", "135,445"}, {"udp", "137:139"}, {"udp", "1024:65535"}, {"tcp", "135,139,445"}}, "smbswat": {{"tcp", "901"}}, "smtp": {{"tcp", "25"}},
	"smtps": {{"tcp", "465"}}, "snmp": {{"udp", "161:162"}, {"tcp", "161"}}, "spamd": {{"tcp", "783"}}, "ssh": {{"tcp", "22"}}, "svn": {{"tcp", "3690"}}, "sixxs": {{"tcp", "3874"}, {"udp", "3740"}},
	"squid": {{"tcp", "3128"}}, "spiceproxy": {{"tcp", "3128"}}, "submission": {{"tcp", "587"}}, "syslog": {{"udp", "514"}, {"tcp", "514"}}, "tftp": {{"udp", "69"}}, "telnet": {{"tcp", "23"}},
	"telnets": {{"tcp", "992"}}, "time": {{"tcp", "37"}}, "vnc": {{"tcp", "5900:5999"}}, "vncl": {{"tcp", "5500"}}, "web": {{"tcp", "80"}, {"tcp", "443"}}, "webcache": {{"tcp", "8080"}},
	"webmin": {{"tcp", "10000"}}, "whois": {{"tcp", "43"}}, "ping": {{"icmp", ""}}, "trcrt": {{"udp", "33434:33524"}, {"icmp", ""}},
}
