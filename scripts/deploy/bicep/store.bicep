// The store (PostgreSQL), which knows the managed identity alone and no password, and the key vault with the endpoint's secret.
param name string
param location string
param identityPrincipalId string
param identityName string
param maxInstances int

@secure()
param serviceSecret string

var readSecrets = '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User
// An instance holds one connection and opens another to read what is long; while a deployment goes on there are twice as many.
var connections = 4 * maxInstances
var size = connections <= 35 ? 'Standard_B1ms' : 'Standard_B2s' // of these 35 and 414 connections are for users

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: take('${name}-${uniqueString(resourceGroup().id)}', 24)
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
  }
}

resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identityPrincipalId, readSecrets)
  scope: vault
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', readSecrets)
  }
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: '${name}-${uniqueString(resourceGroup().id)}'
  location: location
  sku: {
    name: size
    tier: 'Burstable'
  }
  properties: {
    version: '16'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: tenant().tenantId
    }
    storage: {
      storageSizeGB: 32
    }
    backup: {
      backupRetentionDays: 14
      geoRedundantBackup: 'Disabled'
    }
  }
}

resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01' = {
  parent: server
  name: 'connector'
}

resource fromAzure 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2024-08-01' = {
  parent: server
  name: 'AllowAzureServices'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
}

resource identityAsAdministrator 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2024-08-01' = {
  parent: server
  name: identityPrincipalId
  properties: {
    principalType: 'ServicePrincipal'
    principalName: identityName
    tenantId: tenant().tenantId
  }
  dependsOn: [database]
}

// A deployment without the parameter keeps the secret as it is.
resource sealing 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(serviceSecret)) {
  parent: vault
  name: 'service'
  properties: {
    value: serviceSecret
  }
}

output storeAddress string = 'postgresql://${uriComponent(identityName)}@${server.properties.fullyQualifiedDomainName}/connector?sslmode=require'
output serviceSecretUri string = '${vault.properties.vaultUri}secrets/service'
